//! Tables whose cost per entry is a promise: a million idle connections are made of them. Each lives on one
//! core, within the state of its shard. They stand in this crate because the engine and both nodes keep them.

mod chunks;
mod slab;
mod topics;

pub use chunks::Chunks;
pub use slab::Slab;
pub use topics::{Members, TopicIndex, TopicTable};
