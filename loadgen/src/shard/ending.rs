//! The final check: the main thread puts together what every shard knows of each box, and then every member
//! of every box must have all of it. Lives on the shards' cores.

use std::sync::Arc;

use super::{Answer, Shard, Stage};
use crate::clients::Life;
use crate::hash::Map;
use crate::names::BoxNumber;
use crate::place::Seq;
use crate::plan::{Dialect, Traffic};
use crate::stream::StreamKey;

/// What one shard knows at the end.
#[derive(Debug, Default)]
pub struct Claims {
    /// The newest seq of each box that was acknowledged, or that a member has.
    pub boxes: Vec<(BoxNumber, Seq)>,
    /// Sender, box, and how many messages it sent there that were not refused for good.
    pub sent: Vec<(u32, BoxNumber, u32)>,
    /// Sender, stream and number of messages that were refused for good.
    pub refused: Vec<(u32, u32, u32)>,
}

/// What all shards know together.
#[derive(Debug, Default)]
pub struct Heads {
    boxes: Map<BoxNumber, Seq>,
    sent: Map<BoxNumber, Vec<(u32, u32)>>,
    refused: Vec<(u32, u32, u32)>,
}

impl Heads {
    pub fn add(&mut self, claims: Claims) {
        for (number, seq) in claims.boxes {
            let head = self.boxes.entry(number).or_default();
            *head = (*head).max(seq);
        }
        for (sender, number, count) in claims.sent {
            self.sent.entry(number).or_default().push((sender, count));
        }
        self.refused.extend(claims.refused);
    }
}

/// Messages that one client lacks.
struct Missing {
    messages: u64,
    number: BoxNumber,
}

impl Shard {
    pub(super) fn claim(&mut self) {
        let mut claims = Claims {
            boxes: self
                .acked
                .iter()
                .map(|(number, seq)| (*number, *seq))
                .collect(),
            sent: Vec::new(),
            refused: std::mem::take(&mut self.refused),
        };
        let rooms = self.rooms.iter();
        let heads = rooms.map(|(number, room)| (*number, room.head() as Seq));
        claims.boxes.extend(heads);
        for flow in self
            .flows
            .iter()
            .filter(|flow| flow.traffic != Traffic::Echo)
        {
            for sender in flow.senders.iter().filter(|sender| sender.next > 0) {
                let user = self.user_of(sender.local);
                let number = match flow.traffic {
                    Traffic::P2p { .. } => Some(self.plan.pair_of(user)),
                    _ => self.plan.home_of(user),
                };
                claims
                    .sent
                    .extend(number.map(|number| (user, number, sender.next)));
            }
        }
        // Nobody listens once the main thread has given up.
        let _ = self.answers.send(Answer::Claims(Box::new(claims)));
    }

    /// Counts who is behind and what is missing, for the main thread, which waits until nothing is.
    pub(super) fn look_for_missing(&mut self) {
        let clients = self.clients.iter();
        let behind =
            clients.filter(|(_, client)| client.home.is_behind() || client.pair.is_behind());
        self.gauges.behind = behind.count() as u64;
        if self.heads.is_some() {
            self.gauges.incomplete = self.missing().map(|missing| missing.messages).sum();
        }
    }

    pub(super) fn conclude(&mut self) {
        self.tally.counts.bytes_out = self.wire.bytes_out;
        self.count_unanswered();
        if let Some(heads) = self.heads.clone() {
            self.excuse_refused(&heads);
            let all: Vec<Missing> = self.missing().collect();
            for missing in all {
                self.tally.counts.lost_messages += missing.messages;
                let (number, count) = (missing.number.0 & (u32::MAX >> 1), missing.messages);
                let kind = if missing.number.is_pair() {
                    "pair"
                } else {
                    "group"
                };
                let wrong = &mut self.tally.wrong;
                wrong.add(|| {
                    format!("a member of {kind} {number} never got its last {count} messages")
                });
            }
        }
        self.tally.counts.lost_messages += self.streams.missing();
        let gaps: Vec<_> = self.streams.some_missing(3).collect();
        for (key, number) in gaps {
            let wrong = &mut self.tally.wrong;
            wrong.add(|| format!("message {number} of user {} never came", key.sender));
        }
        self.stage = Stage::Concluded;
        let tally = Box::new(std::mem::take(&mut self.tally));
        let _ = self.answers.send(Answer::Concluded(tally));
    }

    /// Counts messages that were sent and neither answered nor refused.
    fn count_unanswered(&mut self) {
        for flow in &self.flows {
            let what = match flow.traffic {
                Traffic::Echo => "came back",
                _ => "was acknowledged or refused",
            };
            for sender in &flow.senders {
                let unanswered = sender.in_flight.iter().filter(|m| !m.is_acked).count();
                if unanswered == 0 {
                    continue;
                }
                self.tally.counts.lost_messages += unanswered as u64;
                let user = self.plan.first_user + self.first + sender.local;
                let wrong = &mut self.tally.wrong;
                wrong.add(|| format!("{unanswered} messages of user {user}: none {what}"));
            }
        }
    }

    fn excuse_refused(&mut self, heads: &Arc<Heads>) {
        for (sender, stream, number) in &heads.refused {
            let everybody = StreamKey {
                reader: u32::MAX,
                sender: *sender,
                stream: *stream,
            };
            self.streams.excuse(everybody, *number);
        }
    }

    /// Members that don't have everything that their box has.
    fn missing(&self) -> impl Iterator<Item = Missing> {
        let heads = self.heads.clone().unwrap_or_default();
        let clients = self.clients.iter();
        clients.flat_map(move |(local, client)| {
            let user = self.user_of(local);
            let home = self.plan.home_of(user).filter(|_| client.home.is_joined);
            let pair = Some(self.plan.pair_of(user)).filter(|_| !user.is_multiple_of(2));
            let is_left = matches!(client.life, Life::Left | Life::Quitting);
            let places = [(home, client.home.mark), (pair, client.pair.mark)];
            let heads = Arc::clone(&heads);
            places.into_iter().filter_map(move |(number, mark)| {
                let number = number.filter(|_| !is_left)?;
                let messages = match self.plan.dialect {
                    Dialect::V1 => self.missing_of_v1(&heads, user, number),
                    _ => {
                        let head = heads.boxes.get(&number).copied().unwrap_or(0);
                        u64::from(head.saturating_sub(mark))
                    }
                };
                (messages > 0).then_some(Missing { messages, number })
            })
        })
    }

    /// Messages that a v1 client lacks. It has no marks, so its last message of each sender is compared
    /// with the last that was sent. A client that was away is not checked: what it missed nobody told it.
    fn missing_of_v1(&self, heads: &Heads, user: u32, number: BoxNumber) -> u64 {
        let client = self.clients.look(user - self.plan.first_user - self.first);
        let place = if number.is_pair() {
            client.pair
        } else {
            client.home
        };
        if !place.from_start {
            return 0;
        }
        let senders = heads.sent.get(&number).into_iter().flatten();
        let missing = senders.map(|(sender, count)| {
            let key = StreamKey {
                reader: user,
                sender: *sender,
                stream: number.0,
            };
            u64::from(count.saturating_sub(self.streams.next(key)))
        });
        missing.sum()
    }
}
