//! One pinned executor per core, the io_uring connection engine, and the cross-core mesh.
