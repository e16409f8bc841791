//! Tables whose cost per entry is a promise: what a million idle connections are made of. Each lives on
//! one core, within the state of its shard. Here, because the engine and both nodes keep them.

mod chunks;
mod slab;
mod topics;

pub use chunks::Chunks;
pub use slab::Slab;
pub use topics::{Members, TopicIndex, TopicTable};
