//! The shard's behaviours, each from the inputs that a driver would bring. The store is played by hand,
//! so that every answer, and every failure of one, comes when the test says.

mod asking;
mod delivering;
mod ending;
mod harness;
mod moving;
mod requesting;
mod retrying;
mod routing;
