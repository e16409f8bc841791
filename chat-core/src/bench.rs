//! The sizes of the shard's private types, which `newim-gate` compares with its baseline. Nothing else may use
//! this: it is no part of the crate's contract.

use newim_proto::link::Delivery;

use crate::links::Link;
use crate::ordering::BoxOrder;
use crate::topics::Orders;

/// Name and size in bytes of each type that the shard has one of per topic, box, link or message.
pub fn sizes() -> Vec<(&'static str, usize)> {
    vec![
        ("chat orders of a topic", size_of::<Option<Orders>>()),
        ("chat box order", size_of::<BoxOrder>()),
        ("chat link", size_of::<Link>()),
        ("chat delivery", size_of::<Delivery>()),
    ]
}
