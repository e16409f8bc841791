//! The key of the dedupe window: sender and client_id, as 16 bytes. Used by both engines.

use newim_proto::ids::{ClientId, Uid};

/// The first 16 bytes of BLAKE3(sender, 0, client_id). Neither name holds a control character, so
/// the zero byte separates them unambiguously.
pub(crate) fn seen_key(sender: &Uid, client_id: &ClientId) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(sender.as_str().as_bytes())
        .update(&[0])
        .update(client_id.as_str().as_bytes());
    let mut key = [0; 16];
    hasher.finalize_xof().fill(&mut key);
    key
}
