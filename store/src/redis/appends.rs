//! Appends gathered into one call of a script, so that Redis' work for a call is paid once for all of them.
//! Called by `CallWriter`; none waits longer than until bytes are asked for.

use std::io::Write;

use newim_proto::ids::BoxId;
use newim_proto::log::{Append, AppendKind};

use super::keys::{BoxKey, KeyWriter};
use super::operations::OperationId;
use crate::limits::{AGED_PER_APPEND_MAX, CALL_BYTES_MAX, CALL_MESSAGES_MAX, SCRIPT_NUMBER_MAX};
use crate::seen::seen_key;
use crate::settings::StoreSettings;

/// Bytes of the server's run id that a box keeps: as good as all 40.
const RUN_BYTES: usize = 16;

#[derive(Default)]
pub(super) struct Appends {
    /// Keys of the waiting messages, packed as the protocol has them.
    keys: Vec<u8>,
    arguments: Vec<u8>,
    operations: Vec<OperationId>,
    /// Box of the last waiting message.
    boxid: Option<BoxId>,
    entry: Vec<u8>,
    writer: KeyWriter,
}

impl Appends {
    /// Whether this append may go into the same call as those that wait.
    pub fn has_room_for(&self, append: &Append, one_box: bool) -> bool {
        let Some(boxid) = &self.boxid else {
            return true;
        };
        let bytes = self.bytes() + append.payload.len();
        self.operations.len() < CALL_MESSAGES_MAX
            && bytes <= CALL_BYTES_MAX
            && (!one_box || *boxid == append.boxid)
    }

    pub fn push(&mut self, operation: OperationId, append: &Append) {
        let head = self.writer.of_box(BoxKey::Head, &append.boxid);
        bulk(&mut self.keys, &[head.as_bytes()]);
        let sender = append.sender.as_str().as_bytes();
        let who: [&[u8]; 2] = match &append.kind {
            AppendKind::Join => [b"J", sender],
            AppendKind::Quit => [b"Q", sender],
            AppendKind::Chat => [b"C", sender],
            AppendKind::Direct { .. } => [b"D", b""],
        };
        bulk(&mut self.arguments, &who);
        match &append.client_id {
            Some(client_id) => {
                bulk(&mut self.arguments, &[&seen_key(&append.sender, client_id)]);
            }
            None => bulk(&mut self.arguments, &[]),
        }
        bulk(
            &mut self.arguments,
            &[&append.digest, &append.uuid.0.to_be_bytes()],
        );
        self.entry(append);
        self.operations.push(operation);
        if self.boxid.as_ref() != Some(&append.boxid) {
            self.boxid = Some(append.boxid.clone());
        }
    }

    /// Adds the log entry of a message, in the form that `append.lua` gives.
    fn entry(&mut self, append: &Append) {
        self.entry.clear();
        self.entry.extend_from_slice(&append.ts_ms.to_be_bytes());
        let names = self.entry.len();
        self.entry.extend_from_slice(&[0; 2]);
        if let AppendKind::Direct { receiver } = &append.kind {
            // One order whoever writes, so that an answer is no other pair. No name holds a zero.
            let (sender, receiver) = (append.sender.as_str(), receiver.as_str());
            self.entry
                .extend_from_slice(sender.min(receiver).as_bytes());
            self.entry.push(0);
            self.entry
                .extend_from_slice(sender.max(receiver).as_bytes());
        }
        let bytes = u16::try_from(self.entry.len() - names - 2).expect("names are bounded");
        self.entry[names..names + 2].copy_from_slice(&bytes.to_be_bytes());
        bulk(&mut self.arguments, &[&self.entry, &append.payload]);
    }

    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Writes one call for all that wait (at least one), and returns their operations in the order of its
    /// answers.
    pub fn finish(
        &mut self,
        output: &mut Vec<u8>,
        hash: &str,
        settings: &[u8],
    ) -> Vec<OperationId> {
        let operations = std::mem::take(&mut self.operations);
        let count = operations.len();
        write!(output, "*{}\r\n", 4 + 5 * count).expect("a Vec takes all");
        bulk(output, &[b"EVALSHA"]);
        bulk(output, &[hash.as_bytes()]);
        bulk(output, &[count.to_string().as_bytes()]);
        output.append(&mut self.keys);
        bulk(output, &[settings]);
        output.append(&mut self.arguments);
        self.boxid = None;
        operations
    }

    pub fn bytes(&self) -> usize {
        self.keys.len() + self.arguments.len()
    }

    pub fn clear(&mut self) {
        self.keys.clear();
        self.arguments.clear();
        self.operations.clear();
        self.boxid = None;
    }
}

/// The first argument of a call, in the form that `append.lua` gives.
pub(super) fn packed_settings(settings: &StoreSettings, run_id: &str) -> Vec<u8> {
    let mut packed = vec![0; RUN_BYTES];
    let known = run_id.len().min(RUN_BYTES);
    packed[..known].copy_from_slice(&run_id.as_bytes()[..known]);
    let window = settings.dedupe_window_ms.min(SCRIPT_NUMBER_MAX);
    // Clocks of gateways differ: a window that is over for one of them still counts for another.
    let rotate = (window + window / 4).min(SCRIPT_NUMBER_MAX);
    let numbers = [
        settings.retention.messages_max,
        settings.retention.age_ms_max,
        window,
        rotate,
        2 * rotate,
        AGED_PER_APPEND_MAX as u64,
    ];
    for number in numbers {
        packed.extend_from_slice(&number.min(SCRIPT_NUMBER_MAX).to_be_bytes());
    }
    packed
}

/// One argument of the protocol, given in parts.
fn bulk(output: &mut Vec<u8>, parts: &[&[u8]]) {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    write!(output, "${bytes}\r\n").expect("a Vec takes all");
    for part in parts {
        output.extend_from_slice(part);
    }
    output.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use newim_proto::ids::{ClientId, Uid, Uuid};
    use newim_proto::log::{Command, StoreToken};
    use redis::{Parser, Value};

    use super::super::operations::{Operation, Operations, Progress};
    use super::*;

    fn message(in_box: &str, payload_bytes: usize) -> Append {
        Append {
            boxid: BoxId::parse(in_box).expect("a name"),
            sender: Uid::parse("bob").expect("a name"),
            kind: AppendKind::Direct {
                receiver: Uid::parse("ann").expect("a name"),
            },
            client_id: Some(ClientId::parse("id").expect("a name")),
            digest: [1; 16],
            uuid: Uuid(2),
            ts_ms: 3,
            payload: vec![b'x'; payload_bytes].into(),
        }
    }

    fn operation(append: &Append, operations: &mut Operations) -> OperationId {
        operations.insert(Operation {
            token: StoreToken(0),
            command: Command::Append(append.clone()),
            progress: Progress::Begun,
            serial: 0,
            reloaded: false,
        })
    }

    /// How many of these share the first call.
    fn in_one_call(messages: &[Append], one_box: bool) -> usize {
        let (mut appends, mut operations) = (Appends::default(), Operations::default());
        for message in messages {
            if !appends.has_room_for(message, one_box) {
                break;
            }
            appends.push(operation(message, &mut operations), message);
        }
        let mut output = Vec::new();
        let ids = appends.finish(&mut output, "hash", b"settings");
        assert!(appends.is_empty() && appends.bytes() == 0);
        let call = Parser::new().parse_value(&output[..]).expect("a call");
        let Value::Array(arguments) = call else {
            panic!("{call:?} is no call")
        };
        assert_eq!(arguments.len(), 4 + 5 * ids.len());
        ids.len()
    }

    #[test]
    fn a_call_takes_as_many_messages_and_bytes_as_its_bounds() {
        let small = vec![message("a", 10); CALL_MESSAGES_MAX + 5];
        assert_eq!(in_one_call(&small, false), CALL_MESSAGES_MAX);
        let half = vec![message("a", CALL_BYTES_MAX / 2); 5];
        assert_eq!(in_one_call(&half, false), 1);
        let quarter = vec![message("a", CALL_BYTES_MAX / 5); 5];
        assert_eq!(in_one_call(&quarter, false), 4);
        let large = vec![message("a", 4 * CALL_BYTES_MAX); 2];
        assert_eq!(in_one_call(&large, false), 1, "alone, whatever its size");
    }

    #[test]
    fn in_a_cluster_a_call_is_for_one_box() {
        let messages = ["a", "a", "b", "a"].map(|in_box| message(in_box, 10));
        assert_eq!(in_one_call(&messages, true), 2);
        assert_eq!(in_one_call(&messages, false), 4);
    }

    #[test]
    fn both_directions_of_a_pair_are_logged_under_the_same_names() {
        let (there, mut back) = (message("a", 1), message("a", 1));
        back.sender = Uid::parse("ann").expect("a name");
        back.kind = AppendKind::Direct {
            receiver: Uid::parse("bob").expect("a name"),
        };
        let entry = |message: &Append| {
            let mut appends = Appends::default();
            appends.entry(message);
            appends.entry
        };
        assert_eq!(entry(&there), entry(&back));
        assert_eq!(entry(&there), b"\0\0\0\0\0\0\0\x03\0\x07ann\0bob");
    }
}
