//! Packs the steps of commands into bytes for the server: a script with its keys and arguments, or one
//! plain command. A step is written from its command alone, so it can be written again.

use newim_proto::ids::{BoxId, Uid};
use newim_proto::log::{Append, Head, Mark, Range};
use redis::Cmd;

use super::answers::ServerInfo;
use super::appends::{Appends, packed_settings};
use super::config::RedisConfig;
use super::keys::{BoxKey, KeyWriter, UserKey};
use super::operations::OperationId;
use super::scripts::{Loaded, Script};
use crate::limits::RANGE_SCAN_MAX;

/// Packs calls into the bytes to send. Its buffers are reused.
pub(super) struct CallWriter {
    pub output: Vec<u8>,
    pub loaded: Loaded,
    /// Appends that are not in the output yet. All other calls come after them: see `finish_appends`.
    appends: Appends,
    append_settings: Vec<u8>,
    one_box_a_call: bool,
    command: Cmd,
    keys: KeyWriter,
}

impl CallWriter {
    pub fn new() -> CallWriter {
        CallWriter {
            output: Vec::new(),
            loaded: Loaded::default(),
            appends: Appends::default(),
            append_settings: Vec::new(),
            one_box_a_call: true,
            command: Cmd::new(),
            keys: KeyWriter::default(),
        }
    }

    /// Takes what the calls need to know of the server that the connection leads to.
    pub fn greeted(&mut self, server: &ServerInfo, config: &RedisConfig) {
        self.append_settings = packed_settings(&config.settings, &server.run_id);
        self.one_box_a_call = server.cluster;
    }

    pub fn plain(&mut self, arguments: &[&str]) {
        self.command.clear();
        for argument in arguments {
            self.command.arg(argument);
        }
        self.finish();
    }

    /// Adds an append to the call that gathers them. False: the call is full; finish it, and there is room.
    #[must_use]
    pub fn append(&mut self, operation: OperationId, append: &Append) -> bool {
        let room = self.appends.has_room_for(append, self.one_box_a_call);
        if room {
            self.appends.push(operation, append);
        }
        room
    }

    /// Writes the appends that wait as one call, and returns their operations in the order of its answers. To
    /// be called before any other call is written, so that calls take effect in the order of the pushes.
    pub fn finish_appends(&mut self) -> Option<Vec<OperationId>> {
        if self.appends.is_empty() {
            return None;
        }
        let hash = self.loaded.hash(Script::Append);
        let settings = &self.append_settings;
        Some(self.appends.finish(&mut self.output, hash, settings))
    }

    pub fn output_bytes(&self) -> usize {
        self.output.len() + self.appends.bytes()
    }

    /// Forgets all output and all waiting appends.
    pub fn clear(&mut self) {
        self.output.clear();
        self.appends.clear();
    }

    pub fn range(&mut self, range: &Range) {
        let keys = [
            BoxKey::Head,
            BoxKey::Meta,
            BoxKey::Log,
            BoxKey::Members,
            BoxKey::Parties,
        ];
        self.script(Script::Range, keys.len());
        self.box_keys(&keys, &range.boxid);
        self.command
            .arg(range.reader.as_str())
            .arg(range.after)
            .arg(range.messages_max.max(1));
        self.command.arg(range.bytes_max).arg(RANGE_SCAN_MAX);
        self.finish();
    }

    pub fn head(&mut self, boxid: &BoxId) {
        let keys = [BoxKey::Head, BoxKey::Meta];
        self.script(Script::Head, keys.len());
        self.box_keys(&keys, boxid);
        self.finish();
    }

    pub fn facts(&mut self, boxid: &BoxId) {
        let keys = [BoxKey::Head, BoxKey::Meta, BoxKey::Members];
        self.script(Script::Facts, keys.len());
        self.box_keys(&keys, boxid);
        self.finish();
    }

    pub fn state(&mut self, boxid: &BoxId, uid: &Uid) {
        let keys = [BoxKey::Head, BoxKey::Meta, BoxKey::Members, BoxKey::Parties];
        self.script(Script::State, keys.len());
        self.box_keys(&keys, boxid);
        self.command.arg(uid.as_str());
        self.finish();
    }

    pub fn list_join(&mut self, uid: &Uid, boxid: &BoxId, config: &RedisConfig) {
        self.user_script(Script::ListJoin, UserKey::Joined, uid);
        self.command
            .arg(boxid.as_str())
            .arg(config.settings.boxes_per_user_max);
        self.finish();
    }

    pub fn confirm_join(&mut self, uid: &Uid, boxid: &BoxId, position: Head) {
        self.user_script(Script::ConfirmJoin, UserKey::Joined, uid);
        self.command
            .arg(boxid.as_str())
            .arg(position.epoch)
            .arg(position.seq);
        self.finish();
    }

    pub fn unlist(&mut self, uid: &Uid, boxid: &BoxId, position: Head) {
        self.user_script(Script::Unlist, UserKey::Joined, uid);
        self.command
            .arg(boxid.as_str())
            .arg(position.epoch)
            .arg(position.seq);
        self.finish();
    }

    pub fn list_direct(&mut self, uid: &Uid, boxid: &BoxId, config: &RedisConfig) {
        self.user_script(Script::ListDirect, UserKey::Direct, uid);
        self.command
            .arg(boxid.as_str())
            .arg(config.settings.boxes_per_user_max);
        self.finish();
    }

    pub fn list(&mut self, uid: &Uid) {
        let keys = [UserKey::Joined, UserKey::Direct, UserKey::Marks];
        self.script(Script::List, keys.len());
        for key in keys {
            self.command.arg(self.keys.of_user(key, uid));
        }
        self.finish();
    }

    pub fn mark(&mut self, mark: &Mark, head: Head, epoch_base: u64) {
        self.user_script(Script::Mark, UserKey::Marks, &mark.uid);
        self.command
            .arg(mark.boxid.as_str())
            .arg(head.epoch)
            .arg(epoch_base);
        self.command
            .arg(mark.delivered.unwrap_or(0))
            .arg(mark.read.unwrap_or(0));
        self.finish();
    }

    fn script(&mut self, script: Script, key_count: usize) {
        self.command.clear();
        self.command
            .arg("EVALSHA")
            .arg(self.loaded.hash(script))
            .arg(key_count);
    }

    fn user_script(&mut self, script: Script, key: UserKey, uid: &Uid) {
        self.script(script, 1);
        self.command.arg(self.keys.of_user(key, uid));
    }

    fn box_keys(&mut self, keys: &[BoxKey], boxid: &BoxId) {
        for key in keys {
            self.command.arg(self.keys.of_box(*key, boxid));
        }
    }

    fn finish(&mut self) {
        debug_assert_eq!(self.appends.bytes(), 0, "appends were pushed before this");
        self.command.write_packed_command(&mut self.output);
    }
}
