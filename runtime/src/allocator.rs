//! What a burst freed goes back to the kernel. mimalloc gives pages back when its thread allocates again,
//! and the thread of a quiet shard doesn't: with a million connections that were opened in a minute, 70
//! bytes for each stay behind. Called by a shard, on its own core, before it sleeps.

/// At most so often: what little traffic frees and takes again stays with the allocator.
const EVERY_US_MIN: u64 = 500_000;

#[derive(Debug, Default)]
pub(crate) struct GivingBack {
    given_us: u64,
}

impl GivingBack {
    /// Gives back what the thread has no use for, if it hasn't just done so.
    pub fn before_sleep(&mut self, now_us: u64) {
        if now_us < self.given_us + EVERY_US_MIN {
            return;
        }
        self.given_us = now_us;
        give_back_memory();
    }
}

/// Gives back what this thread's heap has no use for. For threads that fall quiet after much work.
pub fn give_back_memory() {
    // SAFETY: may be called on any thread at any time; in a process whose allocator is another it finds
    // nothing.
    unsafe { libmimalloc_sys::mi_collect(false) }
}
