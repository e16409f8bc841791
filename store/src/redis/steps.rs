//! The steps of each command: which calls it makes, and what their answers lead to. Part of the client of one
//! connection, on its shard's core.
//!
//! Order within a box: a JOIN or a direct message that must first be listed with its users sends the
//! listing at once and waits in the box's lane for the answer; later commands for that box wait behind it.
//! Replies come in the order of the calls, so when a later command is answered, all earlier listings have
//! been answered, and their appends sent.

use newim_proto::ids::BoxId;
use newim_proto::log::{
    Append, AppendKind, BoxState, Command, Head, Mark, Reply, StoreError, StoreResult, StoreToken,
};
use redis::Value;

use super::answers::{self, Listed, Standing};
use super::client::RedisClient;
use super::operations::{Awaited, Call, OperationId, Progress};

type Replies = Vec<(StoreToken, StoreResult)>;

impl RedisClient {
    /// The first calls of a command that was just pushed.
    pub(super) fn begin(&mut self, id: OperationId) {
        match &self.operations.at(id).command {
            Command::Append(append) => {
                let append = append.clone();
                self.begin_append(id, &append);
            }
            Command::Range(range) => {
                let boxid = range.boxid.clone();
                self.send_in_lane(&boxid, id, Call::Range);
            }
            Command::Mark(mark) => {
                let boxid = mark.boxid.clone();
                self.send_in_lane(&boxid, id, Call::MarkStanding);
            }
            Command::Boxes(_) => self.send(id, Call::List),
            Command::Facts(boxid) => {
                let boxid = boxid.clone();
                self.send_in_lane(&boxid, id, Call::Facts);
            }
            // Nothing is asked, but a result still comes by `feed`.
            Command::Heads(boxids) if boxids.is_empty() => self.send(id, Call::Ping),
            Command::Heads(boxids) => {
                let boxids = boxids.clone();
                let (heads, unanswered) = (vec![Head::default(); boxids.len()], boxids.len());
                self.operations.at(id).progress = Progress::Heads {
                    heads,
                    unanswered,
                    failure: None,
                };
                for (index, boxid) in boxids.iter().enumerate() {
                    self.send_in_lane(boxid, id, Call::Head(index as u32));
                }
            }
        }
    }

    fn begin_append(&mut self, id: OperationId, append: &Append) {
        let mut listings = Vec::new();
        match &append.kind {
            AppendKind::Join => listings.push(Call::ListJoin),
            AppendKind::Direct { receiver } => {
                if !self.listed.contains(&append.boxid, &append.sender) {
                    listings.push(Call::ListSender);
                }
                if *receiver != append.sender && !self.listed.contains(&append.boxid, receiver) {
                    listings.push(Call::ListReceiver);
                }
            }
            AppendKind::Quit | AppendKind::Chat => {}
        }
        if listings.is_empty() {
            return self.send_in_lane(&append.boxid, id, Call::Append);
        }
        let unanswered = listings.len() as u8;
        self.operations.at(id).progress = Progress::Listing {
            unanswered,
            newly: false,
            failure: None,
        };
        for listing in listings {
            self.send(id, listing);
        }
        self.lanes.open(&append.boxid, id, Call::Append);
    }

    fn send_in_lane(&mut self, boxid: &BoxId, id: OperationId, call: Call) {
        if let Err(call) = self.lanes.queue(boxid, id, call) {
            self.send(id, call);
        }
    }

    /// Writes a call from its operation.
    pub(super) fn write(&mut self, id: OperationId, call: Call) {
        if call == Call::Append {
            return self.write_append(id);
        }
        self.finish_appends();
        let RedisClient {
            operations,
            writer,
            config,
            ..
        } = self;
        let operation = operations.at(id);
        match (&operation.command, call) {
            (Command::Append(append), call) => match call {
                Call::ListJoin => writer.list_join(&append.sender, &append.boxid, config),
                Call::ListSender => writer.list_direct(&append.sender, &append.boxid, config),
                Call::ListReceiver => writer.list_direct(receiver(append), &append.boxid, config),
                Call::ConfirmJoin => {
                    writer.confirm_join(
                        &append.sender,
                        &append.boxid,
                        position(&operation.progress),
                    );
                }
                Call::Unlist => {
                    writer.unlist(&append.sender, &append.boxid, position(&operation.progress))
                }
                other => unreachable!("an append has no {other:?}"),
            },
            (Command::Range(range), Call::Range) => writer.range(range),
            (Command::Heads(boxids), Call::Head(index)) => writer.head(&boxids[index as usize]),
            (Command::Heads(_), Call::Ping) => writer.plain(&["PING"]),
            (Command::Boxes(uid), Call::List) => writer.list(uid),
            (Command::Facts(boxid), Call::Facts) => writer.facts(boxid),
            (Command::Boxes(uid), Call::Standing(index)) => {
                let Progress::Boxes { list, .. } = &operation.progress else {
                    unreachable!("listed before")
                };
                writer.state(&list[index as usize].0.boxid, uid);
            }
            (Command::Mark(mark), Call::MarkStanding) => writer.state(&mark.boxid, &mark.uid),
            (Command::Mark(mark), Call::Mark) => {
                let Progress::Marking(standing) = &operation.progress else {
                    unreachable!("stood before")
                };
                writer.mark(mark, standing.head, standing.epoch_base);
            }
            (command, call) => unreachable!("{command:?} has no {call:?}"),
        }
        self.expect(Awaited::Step(id, call));
    }

    fn write_append(&mut self, id: OperationId) {
        let Command::Append(append) = &self.operations.at(id).command else {
            unreachable!("only appends are appended")
        };
        if self.writer.append(id, append) {
            return;
        }
        let ids = self.writer.finish_appends().expect("it is full");
        let room = self.writer.append(id, append);
        assert!(room, "an empty call has room for any message");
        self.expect(Awaited::Appends(ids));
    }

    /// Takes the answer to a step, and goes on with the next step or the result.
    pub(super) fn answered(
        &mut self,
        id: OperationId,
        call: Call,
        answer: Result<Value, StoreError>,
        replies: &mut Replies,
    ) {
        match call {
            Call::ListJoin | Call::ListSender | Call::ListReceiver => {
                self.listing_answered(id, call, answer, replies);
            }
            Call::Append => self.append_answered(id, answer, replies),
            Call::ConfirmJoin | Call::Unlist => self.list_changed(id, answer, replies),
            Call::Range => {
                let result = answer
                    .and_then(|value| answers::entries(&value))
                    .map(Reply::Entries);
                self.finish(id, result, replies);
            }
            Call::Facts => {
                let result = answer
                    .and_then(|value| answers::facts(&value))
                    .map(Reply::Facts);
                self.finish(id, result, replies);
            }
            Call::Head(index) => self.head_answered(id, index, answer, replies),
            Call::Ping => self.finish(id, answer.map(|_| Reply::Heads(Vec::new())), replies),
            Call::List => self.list_answered(id, answer, replies),
            Call::Standing(index) => self.standing_answered(id, index, answer, replies),
            Call::MarkStanding => self.mark_standing_answered(id, answer, replies),
            Call::Mark => {
                let Progress::Marking(standing) = self.operations.at(id).progress else {
                    unreachable!("a mark is written once its box's standing is known")
                };
                let result = answer.and_then(|value| answers::done(&value).map(|_| standing.head));
                self.finish(id, result.map(Reply::Marked), replies);
            }
        }
    }

    fn finish(&mut self, id: OperationId, result: StoreResult, replies: &mut Replies) {
        let operation = self.operations.remove(id);
        replies.push((operation.token, result));
    }

    fn listing_answered(
        &mut self,
        id: OperationId,
        call: Call,
        answer: Result<Value, StoreError>,
        replies: &mut Replies,
    ) {
        let answer = answer.and_then(|value| match call {
            Call::ListJoin => answers::newly_listed(&value),
            _ => answers::done(&value).map(|_| false),
        });
        let operation = self.operations.at(id);
        let Progress::Listing {
            unanswered,
            newly,
            failure,
        } = &mut operation.progress
        else {
            unreachable!("a listing is answered while the append waits for it")
        };
        *unanswered -= 1;
        let Command::Append(append) = &operation.command else {
            unreachable!("only appends are listed")
        };
        match answer {
            Ok(added) => {
                *newly |= added;
                if call != Call::ListJoin {
                    let party = if call == Call::ListSender {
                        &append.sender
                    } else {
                        receiver(append)
                    };
                    self.listed.insert(append.boxid.clone(), party.clone());
                }
            }
            Err(error) => *failure = Some(error),
        }
        let boxid = append.boxid.clone();
        self.advance_lane(&boxid, replies);
    }

    /// Sends the calls that waited in a box's lane, up to the next that must wait.
    fn advance_lane(&mut self, boxid: &BoxId, replies: &mut Replies) {
        loop {
            let operations = &mut self.operations;
            let Some((id, call)) = self.lanes.pop(boxid, |id| operations.is_listed(id)) else {
                return;
            };
            match &mut self.operations.at(id).progress {
                Progress::Listing { failure, .. } if failure.is_some() => {
                    let error = failure.take().expect("checked by the guard");
                    self.finish(id, Err(error), replies);
                }
                _ => self.send(id, call),
            }
        }
    }

    fn append_answered(
        &mut self,
        id: OperationId,
        answer: Result<Value, StoreError>,
        replies: &mut Replies,
    ) {
        let operation = self.operations.at(id);
        let newly_listed = matches!(operation.progress, Progress::Listing { newly: true, .. });
        let Command::Append(append) = &operation.command else {
            unreachable!("only appends are appended")
        };
        let answer = answer.and_then(|value| answers::appended(&value, append));
        let (appended, is_member) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // Refused for certain: its listing is taken back. After another error it stays, to be safe.
                if newly_listed && matches!(error, StoreError::ClientIdReused) {
                    self.tidy_listing(id);
                }
                return self.finish(id, Err(error), replies);
            }
        };
        let next = match append.kind {
            AppendKind::Join if is_member => Some(Call::ConfirmJoin),
            AppendKind::Quit if !is_member => Some(Call::Unlist),
            // Includes a repeated JOIN whose sender has left since, and a QUIT whose sender is back.
            _ => None,
        };
        operation.progress = Progress::Appended(appended);
        if !appended.duplicate {
            self.wrote();
        }
        if let Some(call) = next {
            return self.send(id, call);
        }
        if newly_listed {
            self.tidy_listing(id);
        }
        self.finish(id, Ok(Reply::Appended(appended)), replies);
    }

    /// Takes back a listing that led to nothing. Best effort: a box too many on a list does no harm.
    fn tidy_listing(&mut self, id: OperationId) {
        if self.may_tidy() {
            self.finish_appends();
            let (uid, boxid) = self.operations.at(id).listing();
            self.writer.unlist(uid, boxid, Head::default());
            self.expect(Awaited::Unlisted);
        }
    }

    fn list_changed(
        &mut self,
        id: OperationId,
        answer: Result<Value, StoreError>,
        replies: &mut Replies,
    ) {
        let Progress::Appended(appended) = self.operations.at(id).progress else {
            unreachable!("the list changes after the append")
        };
        let result =
            answer.and_then(|value| answers::done(&value).map(|_| Reply::Appended(appended)));
        self.finish(id, result, replies);
    }

    fn head_answered(
        &mut self,
        id: OperationId,
        index: u32,
        answer: Result<Value, StoreError>,
        replies: &mut Replies,
    ) {
        let Progress::Heads {
            heads,
            unanswered,
            failure,
        } = &mut self.operations.at(id).progress
        else {
            unreachable!("set when the heads were asked")
        };
        match answer.and_then(|value| answers::head(&value)) {
            Ok(head) => heads[index as usize] = head,
            Err(error) => *failure = Some(error),
        }
        *unanswered -= 1;
        if *unanswered == 0 {
            let heads = std::mem::take(heads);
            let result = failure.take().map_or(Ok(Reply::Heads(heads)), Err);
            self.finish(id, result, replies);
        }
    }

    fn list_answered(
        &mut self,
        id: OperationId,
        answer: Result<Value, StoreError>,
        replies: &mut Replies,
    ) {
        let list = match answer.and_then(|value| answers::list(&value)) {
            Ok(list) if list.is_empty() => {
                return self.finish(id, Ok(Reply::Boxes(Vec::new())), replies);
            }
            Ok(list) => list,
            Err(error) => return self.finish(id, Err(error), replies),
        };
        let unanswered = list.len();
        let list = list.into_iter().map(|listed| (listed, None)).collect();
        self.operations.at(id).progress = Progress::Boxes {
            list,
            unanswered,
            failure: None,
        };
        for index in 0..unanswered {
            self.send(id, Call::Standing(index as u32));
        }
    }

    fn standing_answered(
        &mut self,
        id: OperationId,
        index: u32,
        answer: Result<Value, StoreError>,
        replies: &mut Replies,
    ) {
        let Progress::Boxes {
            list,
            unanswered,
            failure,
        } = &mut self.operations.at(id).progress
        else {
            unreachable!("set when the list was answered")
        };
        match answer.and_then(|value| answers::standing(&value)) {
            Ok(standing) => list[index as usize].1 = Some(standing),
            Err(error) => *failure = Some(error),
        }
        *unanswered -= 1;
        if *unanswered > 0 {
            return;
        }
        let (list, failure) = (std::mem::take(list), failure.take());
        let result = match failure {
            Some(error) => Err(error),
            None => Ok(Reply::Boxes(self.box_states(id, list))),
        };
        self.finish(id, result, replies);
    }

    /// The listed boxes that the user is a member of or party to. A box that was listed for nothing is taken
    /// off the list, unless a JOIN has listed it anew.
    fn box_states(
        &mut self,
        id: OperationId,
        list: Vec<(Listed, Option<Standing>)>,
    ) -> Vec<BoxState> {
        let Command::Boxes(uid) = self.operations.at(id).command.clone() else {
            unreachable!("only a list has boxes")
        };
        let mut states = Vec::new();
        for (listed, standing) in list {
            let standing = standing.expect("all were answered");
            if let Some(position) = listed.joined
                && !standing.member
                && self.may_tidy()
            {
                self.finish_appends();
                self.writer.unlist(&uid, &listed.boxid, position);
                self.expect(Awaited::Unlisted);
            }
            if standing.member || standing.party {
                states.push(box_state(listed, standing));
            }
        }
        states
    }

    fn mark_standing_answered(
        &mut self,
        id: OperationId,
        answer: Result<Value, StoreError>,
        replies: &mut Replies,
    ) {
        let operation = self.operations.at(id);
        let Command::Mark(mark) = &operation.command else {
            unreachable!("only marks are marked")
        };
        let checked = answer
            .and_then(|value| answers::standing(&value))
            .and_then(|standing| {
                check_mark(mark, &standing)?;
                Ok(standing)
            });
        match checked {
            Err(error) => self.finish(id, Err(error), replies),
            Ok(standing) if mark.epoch.is_some_and(|epoch| epoch < standing.head.epoch) => {
                self.finish(id, Ok(Reply::Marked(standing.head)), replies);
            }
            Ok(standing) => {
                operation.progress = Progress::Marking(standing);
                self.send(id, Call::Mark);
            }
        }
    }
}

fn check_mark(mark: &Mark, standing: &Standing) -> Result<(), StoreError> {
    if !standing.member && !standing.party {
        return Err(StoreError::NotAMember);
    }
    let head = standing.head;
    let epoch = mark.epoch.unwrap_or(head.epoch);
    let furthest = mark.delivered.max(mark.read).unwrap_or(0);
    if epoch > head.epoch || (epoch == head.epoch && furthest > head.seq) {
        return Err(StoreError::BadSeq { head: head.seq });
    }
    Ok(())
}

fn box_state(listed: Listed, standing: Standing) -> BoxState {
    let older = listed.marks_epoch < standing.head.epoch;
    let carried = |seq: u64| {
        if older {
            seq.min(standing.epoch_base)
        } else {
            seq
        }
    };
    BoxState {
        boxid: listed.boxid,
        head: standing.head,
        delivered: carried(listed.delivered),
        read: carried(listed.read),
        joined: standing.member,
    }
}

fn receiver(append: &Append) -> &newim_proto::ids::Uid {
    match &append.kind {
        AppendKind::Direct { receiver } => receiver,
        other => unreachable!("{other:?} has no receiver"),
    }
}

fn position(progress: &Progress) -> Head {
    match progress {
        Progress::Appended(appended) => Head {
            epoch: appended.epoch,
            seq: appended.seq,
        },
        other => unreachable!("a list is changed after the append, not at {other:?}"),
    }
}
