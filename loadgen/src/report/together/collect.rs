//! The end of a common run: every process leaves its report, and the first one that lives merges them. Main
//! thread; called by `Together::finish`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use tokio::time::Instant;
use zookeeper_client::Error;

use super::super::{Report, merge};
use super::{Missing, Outcome, Together, TogetherError, parts, room};
use crate::limits::{COLLECTOR_MARGIN, GONE_GRACE_MAX, GOODBYES_MAX, PARTS_MAX, RECOVERIES_MAX};

pub(super) async fn finish(
    mut together: Together,
    mut report: Report,
) -> Result<Outcome, TogetherError> {
    if together.config.of > 1 {
        name_spoilers(&mut report, together.index, &together.config.label);
    }
    let cut = parts::cut(&report)?;
    let patience = Duration::from_millis(together.config.finish_ms_max);
    let mut end = End {
        deadline: Instant::now() + patience,
        patience,
        gone: BTreeMap::new(),
    };
    let mut recoveries = 0;
    let outcome = loop {
        match end.attempt(&mut together, &cut).await {
            Err(error) if recoveries < RECOVERIES_MAX && is_of_the_connection(&error) => {
                recoveries += 1;
                (together.config.progress)(&format!("{error}; trying again"));
                together.room.recover().await?;
            }
            outcome => break outcome?,
        }
    };
    together.room.leave().await;
    Ok(outcome)
}

/// Names the process in a reason: without that, a reason in a merged report helps nobody.
fn name_spoilers(report: &mut Report, index: u32, label: &str) {
    for reason in &mut report.honesty.spoiled {
        *reason = format!("process {} ({label}): {reason}", index + 1);
    }
}

fn is_of_the_connection(error: &TogetherError) -> bool {
    let TogetherError::ZooKeeper { source, .. } = error else {
        return false;
    };
    matches!(
        source,
        Error::ConnectionLoss | Error::SessionExpired | Error::SessionMoved | Error::ClientClosed
    )
}

struct End {
    deadline: Instant,
    patience: Duration,
    /// Since when each member without a report has been away, by index.
    gone: BTreeMap<u32, Instant>,
}

impl End {
    /// Can be repeated after a lost connection: it writes the same each time.
    async fn attempt(
        &mut self,
        together: &mut Together,
        cut: &[Vec<u8>],
    ) -> Result<Outcome, TogetherError> {
        if !send(together, cut).await? {
            return Ok(Outcome::Sent); // the run's folders are gone: merged by another, with ours in it
        }
        let mut told = usize::MAX;
        loop {
            let room = &together.room;
            let (members, done) = match (room.watch("members").await, room.watch("done").await) {
                (Ok(members), Ok(done)) => (members, done),
                (Err(error), _) | (_, Err(error)) => return sent_if_removed(error),
            };
            if room.read("merged").await?.is_some() {
                return Ok(Outcome::Sent);
            }
            self.note_gone(together, &members.names, &done.names);
            let pending = self.pending(together, &done.names);
            let is_late = Instant::now() >= self.deadline;
            if first_alive(together, &members.names) == Some(together.index)
                && (pending == 0 || is_late)
                && together.room.claim_collection().await?
            {
                return collect(together, &done.names).await;
            }
            if Instant::now() >= self.deadline + COLLECTOR_MARGIN {
                return Err(TogetherError::NotMerged {
                    waited: self.patience,
                });
            }
            if told != pending {
                told = pending;
                (together.config.progress)(&waiting(pending));
            }
            // Past the deadline the collector still merges: the bound that ends this wait is its own.
            room::change(
                members.watcher,
                done.watcher,
                self.deadline + COLLECTOR_MARGIN,
            )
            .await;
        }
    }

    fn note_gone(&mut self, together: &mut Together, members: &[String], done: &[String]) {
        for (index, member) in (0..).zip(&together.roster) {
            if members.contains(&member.name) || done.contains(&index.to_string()) {
                self.gone.remove(&index);
            } else if let Entry::Vacant(unnoticed) = self.gone.entry(index) {
                unnoticed.insert(Instant::now());
                let of = together.config.of;
                let text = format!(
                    "process {} of {of} ({}) left without a report",
                    index + 1,
                    member.label
                );
                (together.config.progress)(&text);
            }
        }
    }

    /// Number of members that may still send a report.
    fn pending(&self, together: &Together, done: &[String]) -> usize {
        let may_come = |index: &u32| {
            let is_dead = self
                .gone
                .get(index)
                .is_some_and(|since| since.elapsed() >= GONE_GRACE_MAX);
            !is_dead && !done.contains(&index.to_string())
        };
        (0..together.config.of).filter(may_come).count()
    }
}

fn waiting(pending: usize) -> String {
    match pending {
        0 => "all reports are here; waiting for them to be merged".to_owned(),
        1 => "waiting for the report of 1 process".to_owned(),
        more => format!("waiting for the reports of {more} processes"),
    }
}

fn first_alive(together: &Together, members: &[String]) -> Option<u32> {
    let first = together
        .roster
        .iter()
        .position(|member| members.contains(&member.name));
    first.map(|index| index as u32)
}

/// False: the run is over and its folders are removed.
async fn send(together: &Together, cut: &[Vec<u8>]) -> Result<bool, TogetherError> {
    match write(together, cut).await {
        Ok(()) => Ok(true),
        Err(TogetherError::ZooKeeper {
            source: Error::NoNode,
            ..
        }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn write(together: &Together, cut: &[Vec<u8>]) -> Result<(), TogetherError> {
    let (room, index) = (&together.room, together.index);
    room.put("reports", index, b"").await?;
    for (number, part) in cut.iter().enumerate() {
        room.write_once(&format!("reports/{index}/{number}"), part)
            .await?;
    }
    room.put("done", index, cut.len().to_string().as_bytes())
        .await
}

fn sent_if_removed(error: TogetherError) -> Result<Outcome, TogetherError> {
    match error {
        TogetherError::ZooKeeper {
            source: Error::NoNode,
            ..
        } => Ok(Outcome::Sent),
        error => Err(error),
    }
}

async fn collect(together: &mut Together, done: &[String]) -> Result<Outcome, TogetherError> {
    let mut reports = Vec::with_capacity(together.roster.len());
    let mut missing = Vec::new();
    for (index, member) in (0..).zip(&together.roster) {
        let why = if done.contains(&index.to_string()) {
            match read(together, index).await {
                Ok(report) => {
                    reports.push(report);
                    continue;
                }
                Err(error @ TogetherError::ZooKeeper { .. }) => return Err(error),
                Err(_) => "its report can't be read",
            }
        } else {
            "it ended without a report"
        };
        missing.push(Missing {
            index,
            label: member.label.clone(),
            why,
        });
    }
    let mut report = merge(reports).expect("this process's own report is among them");
    report.missing = missing
        .iter()
        .map(|one| one.in_words(together.config.of))
        .collect();
    together.room.write_once("merged", b"").await?;
    say_goodbye(together).await?;
    together.room.remove_all().await?;
    Ok(Outcome::Merged(Box::new(report), missing))
}

impl Missing {
    fn in_words(&self, of: u32) -> String {
        format!(
            "process {} of {of} ({}): {}",
            self.index + 1,
            self.label,
            self.why
        )
    }
}

async fn read(together: &Together, index: u32) -> Result<Report, TogetherError> {
    let strange = |why: String| TogetherError::Strange {
        path: format!("reports/{index}"),
        why,
    };
    let count = together
        .room
        .read(&format!("done/{index}"))
        .await?
        .unwrap_or_default();
    let count: Option<usize> = String::from_utf8_lossy(&count).parse().ok();
    let count = count.filter(|count| (1..=PARTS_MAX).contains(count));
    let count = count.ok_or_else(|| strange("the number of parts is missing".to_owned()))?;
    let mut read = Vec::with_capacity(count);
    for number in 0..count {
        let part = together
            .room
            .read(&format!("reports/{index}/{number}"))
            .await?;
        read.push(part.ok_or_else(|| strange(format!("part {number} is missing")))?);
    }
    parts::join(&read).map_err(strange)
}

/// Waits until all others have left: a process whose folders vanish would report an error.
async fn say_goodbye(together: &Together) -> Result<(), TogetherError> {
    let deadline = Instant::now() + GOODBYES_MAX;
    loop {
        let members = together.room.watch("members").await?;
        let others = members
            .names
            .iter()
            .filter(|name| *name != together.room.me());
        if others.count() == 0 || Instant::now() >= deadline {
            return Ok(());
        }
        room::change_of(members.watcher, deadline).await;
    }
}
