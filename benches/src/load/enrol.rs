//! Makes each client's user a member of a box, then disconnects. Members who are online are told of each
//! JOIN: with few clients at a time, ten thousand JOINs cost ten thousand times few. Lives on the load's
//! core.

use super::follower::{Follower, Heard};
use super::{Script, Wire, words};

pub struct Enrol {
    box_of: fn(usize) -> String,
}

impl Enrol {
    pub fn new(box_of: fn(usize) -> String) -> Enrol {
        Enrol { box_of }
    }
}

impl Script for Enrol {
    fn opened(&mut self, client: usize, wire: &mut Wire) {
        wire.message(client, &words::join(&(self.box_of)(client)));
    }

    fn message(&mut self, client: usize, payload: &[u8], wire: &mut Wire) -> Result<(), String> {
        if Follower::default().hear(payload)? == Heard::Ack {
            wire.leave(client);
        }
        Ok(())
    }

    fn begin(&mut self, _in_flight: usize, _wire: &mut Wire) {}

    fn finish(&mut self) {}

    fn flush(&mut self, _wire: &mut Wire) {}

    fn is_idle(&self) -> bool {
        true
    }

    fn missing(&self) -> String {
        "JOINs are not acknowledged".into()
    }
}
