//! Sizes of the shard's private parts, for whoever counts what they cost (`newim-gate`). Nothing else may
//! use it: it promises nothing.

use newim_proto::link::Delivery;

use crate::links::Link;
use crate::ordering::BoxOrder;
use crate::topics::Orders;

/// What there is one of per topic, box, link or message: name and bytes.
pub fn sizes() -> Vec<(&'static str, usize)> {
    vec![
        ("chat orders of a topic", size_of::<Option<Orders>>()),
        ("chat box order", size_of::<BoxOrder>()),
        ("chat link", size_of::<Link>()),
        ("chat delivery", size_of::<Delivery>()),
    ]
}
