//! The client rules of the NewIM protocol, once: a [`Session`] is one user's protocol life on one device,
//! over all its connections. It is a plain value that runs on whatever thread its driver runs on: the
//! driver gives it inputs (connected, received, disconnected, a message to send) and performs the
//! [`Effect`]s that it asks for. It does no I/O, reads no clock and draws no random number, so a simulation
//! replays it from a seed, and a port to another language can be checked against it message by message.
//!
//! `newim client` and `newim-sim` drive it. `newim-loadgen` has rules of its own on purpose: it judges
//! servers, and must not share a mistake with the clients that it stands for.
//!
//! # The contract
//!
//! These are the rules that every SDK follows. A *mark* is the highest seq of a box up to which everything
//! is held; its *epoch* is the numbering that it counts in.
//!
//! 1. `seq = mark + 1`: apply the message. `seq ≤ mark`: drop it. `seq > mark + 1`: hold it aside and pull
//!    from the mark.
//! 2. A message without `seq` is transient: show it, and count nothing. On another epoch, pull the box
//!    anew: a later epoch means that the server lost writes, perhaps some that are held here, so the box is
//!    read from its beginning and what was applied before is not applied again. An earlier epoch is over.
//! 3. A `SYNC` from the server with a `boxid`: pull that box. With an empty one: list, and pull each box
//!    whose head is ahead.
//! 4. After connecting: list, take the heads, hold what is pushed aside, pull, then apply both.
//! 5. Each message has a `client_id` and is sent again under the same one until its `ACK` is there: it is
//!    stored once. The `ACK` stands for the message itself, which a P2P sender is not sent.
//! 6. An error with `retry_after_ms`: try again then. `DRAINING` without a `client_id`: reconnect then.
//!
//! What they add up to: every message that this user may read is applied exactly once, in the order of the
//! box, whatever was lost, repeated or reordered on the way; and a client that has nothing to ask for asks
//! for nothing.
//!
//! # Driving it
//!
//! After each input, and when [`Session::next_deadline_us`] has come, the driver takes effects with
//! [`Session::poll_effect`] until there are none, in their order.
//!
//! ```
//! use newim_client_core::{Effect, Session, Settings, wire};
//! use newim_proto::time::Now;
//!
//! let mut session = Session::new(Settings::new("alice", "phone-7"));
//! let now = Now::default();
//! session.connected(now);
//! let Some(Effect::Send(list)) = session.poll_effect(now) else { panic!() };
//! assert_eq!(*list, wire::list()); // rule 4
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod box_log;
pub mod limits;
mod outgoing;
mod session;
mod settings;
pub mod wire;

pub use box_log::{Applied, BoxLog};
pub use session::{Effect, HangUp, Session};
pub use settings::{Pace, Settings};
