//! What goes to the server for one step of a command: a script with its keys and arguments, or one
//! plain command. A step is written from the command alone, so it can be written again.

use newim_proto::ids::{BoxId, Uid};
use newim_proto::log::{Append, AppendKind, Head, Mark, Range};
use redis::Cmd;

use super::config::RedisConfig;
use super::keys::{BoxKey, KeyWriter, UserKey};
use super::scripts::{Loaded, Script};
use crate::seen::seen_key;
use crate::settings::{AGED_PER_APPEND_MAX, RANGE_SCAN_MAX};

/// Packs calls into the bytes to send. Its buffers are reused.
pub(super) struct CallWriter {
    pub output: Vec<u8>,
    pub loaded: Loaded,
    /// Of the server that the connection leads to.
    pub run_id: String,
    command: Cmd,
    keys: KeyWriter,
    between: String,
}

impl CallWriter {
    pub fn new() -> CallWriter {
        CallWriter {
            output: Vec::new(),
            loaded: Loaded::default(),
            run_id: String::new(),
            command: Cmd::new(),
            keys: KeyWriter::default(),
            between: String::new(),
        }
    }

    pub fn plain(&mut self, arguments: &[&str]) {
        self.command.clear();
        for argument in arguments {
            self.command.arg(argument);
        }
        self.finish();
    }

    pub fn append(&mut self, append: &Append, config: &RedisConfig) {
        let keys = [BoxKey::Meta, BoxKey::Log, BoxKey::Members, BoxKey::Parties];
        self.script(
            Script::Append,
            keys.len() + usize::from(append.client_id.is_some()),
        );
        self.box_keys(&keys, &append.boxid);
        if let Some(client_id) = &append.client_id {
            let key = seen_key(&append.sender, client_id);
            self.command.arg(self.keys.seen(&append.boxid, &key));
        }
        let (kind, receiver) = match &append.kind {
            AppendKind::Join => ("J", ""),
            AppendKind::Quit => ("Q", ""),
            AppendKind::Chat => ("C", ""),
            AppendKind::Direct { receiver } => ("D", receiver.as_str()),
        };
        self.between.clear();
        if let AppendKind::Direct { .. } = append.kind {
            self.between.push_str(append.sender.as_str());
            self.between.push('\0'); // no name holds one
            self.between.push_str(receiver);
        }
        let retention = &config.settings.retention;
        self.command
            .arg(kind)
            .arg(append.sender.as_str())
            .arg(receiver)
            .arg(&self.between);
        self.command
            .arg(&append.digest[..])
            .arg(&append.uuid.0.to_be_bytes()[..])
            .arg(append.ts_ms);
        self.command.arg(&*append.payload).arg(&self.run_id);
        self.command
            .arg(retention.messages_max)
            .arg(retention.age_ms_max);
        self.command
            .arg(config.settings.dedupe_window_ms)
            .arg(AGED_PER_APPEND_MAX);
        self.finish();
    }

    pub fn range(&mut self, range: &Range) {
        let keys = [BoxKey::Meta, BoxKey::Log, BoxKey::Members, BoxKey::Parties];
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
        self.command.clear();
        self.command
            .arg("HMGET")
            .arg(self.keys.of_box(BoxKey::Meta, boxid))
            .arg("epoch")
            .arg("seq");
        self.finish();
    }

    pub fn state(&mut self, boxid: &BoxId, uid: &Uid) {
        let keys = [BoxKey::Meta, BoxKey::Members, BoxKey::Parties];
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
        self.command.write_packed_command(&mut self.output);
    }
}
