//! Who somebody is: made once, from the parts of the upgrade request, before anything is stored for them. A
//! connection that moves to another shard takes its [`Admission`] along instead of being admitted again.

use newim_proto::ids::Uid;
use newim_proto::ws::refusal::Status;
use newim_proto::ws::{Refusal, UpgradeRequest};

use crate::settings::Settings;

/// Whose connection it is, by a request that is all right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// `v2`: the client speaks newim.v2.
    User { uid: Uid, v2: bool },
    /// `/echo`: nobody's.
    Echo,
}

impl Identity {
    /// By the cookie `sid`, which names the user. Refused: without one (401), or with one that is no uid or
    /// can't be decoded (400).
    pub fn of(request: &UpgradeRequest<'_>, settings: &Settings) -> Result<Identity, Refusal> {
        let sid = request.sid()?;
        if request.path == "/echo" && settings.echo_message_bytes_max.is_some() {
            return Ok(Identity::Echo);
        }
        let Some(sid) = sid else {
            return Err(Refusal::new(
                Status::Unauthorized,
                "no user: send the header `Cookie: sid=<uid>`",
            ));
        };
        match Uid::parse(&sid) {
            Ok(uid) => Ok(Identity::User {
                uid,
                v2: request.offers_v2(),
            }),
            Err(error) => Err(Refusal::new(
                Status::BadRequest,
                format!("the user in `Cookie: sid=` {error}"),
            )),
        }
    }
}

/// What one shard of a gateway admitted and another is to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub uid: Uid,
    pub v2: bool,
    /// The request's Sec-WebSocket-Key, which the 101 response answers.
    pub key: String,
}

impl Admission {
    /// Stands before what the client said behind its request: v2 (one byte), the key's and the uid's length
    /// (two bytes each, little-endian), key, uid. Never leaves the process.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.v2));
        out.extend_from_slice(&(self.key.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.uid.as_str().len() as u16).to_le_bytes());
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(self.uid.as_str().as_bytes());
    }

    /// Returns also how many bytes it took. None: these bytes begin with no admission.
    pub fn decode(bytes: &[u8]) -> Option<(Admission, usize)> {
        let (v2, rest) = bytes.split_first()?;
        let (key_len, rest) = rest.split_first_chunk::<2>()?;
        let (uid_len, rest) = rest.split_first_chunk::<2>()?;
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*key_len)))?;
        let (uid, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*uid_len)))?;
        let admission = Admission {
            uid: Uid::parse(std::str::from_utf8(uid).ok()?).ok()?,
            v2: *v2 != 0,
            key: std::str::from_utf8(key).ok()?.to_owned(),
        };
        Some((admission, bytes.len() - rest.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(uid: &str) -> Admission {
        Admission {
            uid: Uid::parse(uid).expect("a name"),
            v2: true,
            key: "dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
        }
    }

    #[test]
    fn an_admission_is_read_as_it_was_written_and_leaves_what_follows() {
        for uid in ["a", "zoë", &"x".repeat(newim_proto::limits::UID_BYTES_MAX)] {
            let mut bytes = Vec::new();
            admission(uid).encode(&mut bytes);
            let len = bytes.len();
            bytes.extend_from_slice(b"frames");
            assert_eq!(Admission::decode(&bytes), Some((admission(uid), len)));
        }
    }

    #[test]
    fn a_cut_admission_is_none() {
        let mut bytes = Vec::new();
        admission("alice").encode(&mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(Admission::decode(&bytes[..len]), None);
        }
    }
}
