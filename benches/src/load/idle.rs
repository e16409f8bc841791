//! Sessions that are connected and send nothing. Lives on the load's core.

use super::follower::{Follower, Heard};
use super::{Script, Wire, words};

pub struct Idle;

impl Script for Idle {
    /// The list is answered after the subscriptions, so a client that has it is ready.
    fn opened(&mut self, client: usize, wire: &mut Wire) {
        wire.message(client, &words::list());
    }

    fn message(&mut self, client: usize, payload: &[u8], wire: &mut Wire) -> Result<(), String> {
        if Follower::default().hear(payload)? == Heard::Listed {
            wire.settle(client);
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
        "sessions still open".into()
    }
}
