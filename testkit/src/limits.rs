//! Times and bounds of the servers under test.

use std::time::Duration;

/// Pause between two looks at a condition that a test waits for.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Attempts to start a server: another process may have taken a port between the search and the bind. After
/// the last one the test fails.
pub(crate) const START_TRIES_MAX: usize = 5;
/// Time that a Redis gets to answer after its start, and to end; then the attempt has failed.
pub(crate) const REDIS_START_LIMIT: Duration = Duration::from_secs(30);
/// Time that a ZooKeeper, which is a JVM, gets for that.
pub(crate) const ZOOKEEPER_START_LIMIT: Duration = Duration::from_secs(60);
/// Time in which all threads of a paused process must have stopped; then the test fails.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(30);
