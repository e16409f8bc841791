//! The end of a run: nothing goes wrong any more, and everything in flight has to finish.

use crate::Report;
use crate::client::{Client, Rules};
use crate::plan::Plan;
use crate::v2::V2;
use crate::world::World;

/// Microseconds that a message in each box may take to reach everybody, once all is quiet.
const PROBE_US: u64 = 3_000_000;

impl World {
    pub fn run_to_the_end(&mut self) -> Report {
        let quiet_us = self.plan.acts_until_us + self.plan.settle_us;
        self.run_until(quiet_us);
        self.trace
            .say(self.now_us, format_args!("all should be quiet"));
        self.check_settled();
        self.probe();
        self.run_until(quiet_us + PROBE_US);
        self.trace.say(self.now_us, format_args!("the end"));
        self.check_settled();
        self.check_v1();
        self.report()
    }

    /// Checks that every v2 client holds all acknowledged messages that it may read. Nobody asked it to look: the
    /// servers told it of what it missed.
    fn check_settled(&self) {
        for (index, client) in self.clients.iter().enumerate() {
            let who = format!("client {index} ({})", client.uid);
            assert!(client.is_open(), "{who} is not connected");
            let unacknowledged = client.unacknowledged();
            assert!(
                unacknowledged.is_empty(),
                "{who} has no answer to {unacknowledged:?}"
            );
            assert_eq!(
                client.stream.owed(),
                None,
                "{who} saw a gap, and no SYNC came"
            );
            if let Rules::V2(v2) = &client.rules {
                assert!(v2.session.is_listed(), "{who} has no list");
                self.check_boxes(client, v2, &who);
            }
        }
    }

    fn check_boxes(&self, client: &Client, v2: &V2, who: &str) {
        for (boxid, truth) in self.oracle.boxes_of(&client.uid) {
            let (Some(log), Some(inbox)) = (v2.session.box_log(boxid), v2.shown.get(boxid)) else {
                let promised = truth
                    .readable(&client.uid, 0)
                    .into_iter()
                    .find(|seq| truth.is_promised(*seq));
                assert_eq!(promised, None, "{who} doesn't know of {boxid}");
                continue;
            };
            assert!(log.is_settled(), "{who} still pulls {boxid}: {log:?}");
            let readable = truth.readable(&client.uid, inbox.base);
            let strange = inbox.applied.difference(&readable).next();
            assert_eq!(
                strange, None,
                "{who} holds what they may not of {boxid}: {inbox:?}"
            );
            let last = inbox.applied.last().copied().unwrap_or(0);
            let missing = readable
                .difference(&inbox.applied)
                .find(|seq| **seq < last || truth.is_promised(**seq));
            assert_eq!(
                missing, None,
                "{who} misses a message of {boxid}, of {readable:?}: {inbox:?}"
            );
        }
    }

    /// Says one thing in each box, when everybody is there.
    fn probe(&mut self) {
        for boxid in (0..self.plan.boxes).map(Plan::box_name) {
            let member = |client: &Client| client.v2 && self.oracle.is_member(&boxid, &client.uid);
            if let Some(client) = self.clients.iter().position(member) {
                self.client_probes(client, &boxid);
            }
        }
    }

    /// Checks that every v1 client, which can't ask, has got the end of the stream of each of its boxes. That it
    /// got all before the end was checked as it came.
    fn check_v1(&self) {
        for (index, client) in self
            .clients
            .iter()
            .enumerate()
            .filter(|(_, client)| !client.v2)
        {
            for (boxid, truth) in self
                .oracle
                .boxes_of(&client.uid)
                .filter(|(_, truth)| truth.is_member(&client.uid))
            {
                let (last, head) = (client.stream.last(boxid), truth.stream_head());
                assert_eq!(
                    last, head,
                    "v1 client {index} ({}) has {boxid} up to (left), of (right)",
                    client.uid
                );
            }
        }
    }

    fn report(&self) -> Report {
        let chats = self
            .chats
            .iter()
            .flat_map(|chat| &chat.shards)
            .map(|host| host.shard.counters());
        let (held, gaps) = chats.fold((0, 0), |(held, gaps), c| (held + c.held, gaps + c.gaps));
        Report {
            seed: self.plan.seed,
            trace_hash: self.trace.hash(),
            events: self.events,
            acknowledged: self.oracle.acknowledged,
            delivered: self.oracle.delivered,
            nudges: self.oracle.nudges,
            faults: self.faults,
            held,
            gaps,
        }
    }
}
