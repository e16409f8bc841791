//! The Redis client: follows.
