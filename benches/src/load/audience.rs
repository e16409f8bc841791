//! The audience of a server that is not ours: subscribers of one topic, who send no more than their
//! greeting, and one publisher, the last client. What every subscriber must get is known to the byte, so a
//! delivery that is lost, duplicated, changed or out of order ends the run. Lives on the load's core.

use std::collections::VecDeque;

use super::{Speech, Wire};

/// The protocol of a server, as byte strings.
#[derive(Clone, Debug)]
pub struct Dialect {
    /// A subscriber's greeting.
    pub subscribe: String,
    /// The publisher's greeting.
    pub introduce: String,
    /// The end of the answer to both greetings.
    pub welcome_end: &'static str,
    /// A message of this text as the publisher sends it.
    pub publication: fn(&str) -> Vec<u8>,
    /// The same message as each subscriber gets it.
    pub delivery: fn(&str) -> Vec<u8>,
    /// A heartbeat that the server may send between two deliveries, and the answer to it.
    pub heartbeat: Option<(&'static str, &'static str)>,
}

pub struct Audience {
    dialect: Dialect,
    subscribers: Vec<Subscriber>,
    /// The answer to its greeting so far; None once it is complete.
    publisher_hears: Option<Vec<u8>>,
    in_flight: usize,
    is_running: bool,
    sent: u64,
    /// Messages that all subscribers have.
    complete: u64,
    /// Messages on their way, in order.
    on_the_way: VecDeque<OnTheWay>,
}

struct OnTheWay {
    sent_us: u64,
    missing: usize,
    /// The message as every subscriber must get it.
    frame: Vec<u8>,
}

#[derive(Default)]
struct Subscriber {
    /// The answer to its greeting so far; None once it is complete.
    hears: Option<Vec<u8>>,
    /// Messages that it has.
    messages: u64,
    /// Bytes that it has of the next message.
    bytes: usize,
    /// Bytes that it has of a heartbeat.
    heartbeat_bytes: usize,
}

const TEXT: &str = "bytes of text, as people write them to one another...";

/// 64 bytes of text, as our own clients send.
fn body(number: u64) -> String {
    format!("{number:010} {TEXT}")
}

impl Audience {
    /// An audience for a plan with one more client, the publisher.
    pub fn new(subscribers: usize, dialect: Dialect) -> Audience {
        let mut all = Vec::new();
        all.resize_with(subscribers, || Subscriber {
            hears: Some(Vec::new()),
            ..Subscriber::default()
        });
        Audience {
            dialect,
            subscribers: all,
            publisher_hears: Some(Vec::new()),
            in_flight: 0,
            is_running: false,
            sent: 0,
            complete: 0,
            on_the_way: VecDeque::new(),
        }
    }

    fn publisher(&self) -> usize {
        self.subscribers.len()
    }

    /// Compares what came with what must come.
    fn deliveries(
        &mut self,
        client: usize,
        mut bytes: &[u8],
        wire: &mut Wire,
    ) -> Result<(), String> {
        let subscriber = &mut self.subscribers[client];
        while !bytes.is_empty() {
            let heard = heartbeat(subscriber, bytes, &self.dialect, client, wire);
            bytes = &bytes[heard..];
            if heard > 0 {
                continue;
            }
            let at = (subscriber.messages - self.complete) as usize;
            let message = self.on_the_way.get_mut(at);
            let message = message.ok_or_else(|| format!("unasked: {}", shown(bytes)))?;
            let wanted = &message.frame[subscriber.bytes..];
            let count = wanted.len().min(bytes.len());
            if bytes[..count] != wanted[..count] {
                let (wanted, bytes) = (shown(wanted), shown(bytes));
                return Err(format!("not {wanted} came but {bytes}"));
            }
            bytes = &bytes[count..];
            subscriber.bytes += count;
            if subscriber.bytes == message.frame.len() {
                subscriber.bytes = 0;
                subscriber.messages += 1;
                message.missing -= 1;
                wire.arrived(message.sent_us);
            }
        }
        while self.on_the_way.front().is_some_and(|m| m.missing == 0) {
            self.on_the_way.pop_front();
            self.complete += 1;
        }
        Ok(())
    }
}

/// How many of the bytes belong to a heartbeat; answers it once it is complete.
fn heartbeat(
    subscriber: &mut Subscriber,
    bytes: &[u8],
    dialect: &Dialect,
    client: usize,
    wire: &mut Wire,
) -> usize {
    let Some((question, answer)) = dialect.heartbeat else {
        return 0;
    };
    let missing = &question.as_bytes()[subscriber.heartbeat_bytes..];
    let count = missing.len().min(bytes.len());
    if subscriber.bytes > 0 || bytes[..count] != missing[..count] {
        return 0;
    }
    subscriber.heartbeat_bytes += count;
    if subscriber.heartbeat_bytes == question.len() {
        subscriber.heartbeat_bytes = 0;
        wire.frames(client, answer.as_bytes());
    }
    count
}

/// The bytes behind the answer to the greeting, once that is complete.
fn welcomed(hears: &mut Option<Vec<u8>>, bytes: &[u8], end: &str) -> Option<Vec<u8>> {
    let answer = hears.as_mut()?;
    answer.extend_from_slice(bytes);
    let end = end.as_bytes();
    let at = answer.windows(end.len()).position(|part| part == end)?;
    let rest = answer.split_off(at + end.len());
    *hears = None;
    Some(rest)
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    format!("{text:?}")
}

impl Speech for Audience {
    fn connected(&mut self, client: usize, wire: &mut Wire) {
        let greeting = if client == self.publisher() {
            &self.dialect.introduce
        } else {
            &self.dialect.subscribe
        };
        wire.frames(client, greeting.as_bytes());
    }

    fn received(&mut self, client: usize, bytes: &mut [u8], wire: &mut Wire) -> Result<(), String> {
        let is_publisher = client == self.publisher();
        let hears = if is_publisher {
            &mut self.publisher_hears
        } else {
            &mut self.subscribers[client].hears
        };
        if hears.is_some() {
            if let Some(rest) = welcomed(hears, bytes, self.dialect.welcome_end) {
                wire.settle(client);
                return self.received(client, &mut rest.clone(), wire);
            }
            return Ok(());
        }
        if is_publisher {
            return Ok(()); // only deliveries are checked
        }
        self.deliveries(client, bytes, wire)
    }

    fn begin(&mut self, in_flight: usize, _wire: &mut Wire) {
        self.in_flight = in_flight;
        self.is_running = true;
    }

    fn finish(&mut self) {
        self.is_running = false;
    }

    fn flush(&mut self, wire: &mut Wire) {
        while self.is_running && self.on_the_way.len() < self.in_flight {
            let body = body(self.sent);
            self.sent += 1;
            self.on_the_way.push_back(OnTheWay {
                sent_us: wire.now_us(),
                missing: self.subscribers.len(),
                frame: (self.dialect.delivery)(&body),
            });
            let publication = (self.dialect.publication)(&body);
            wire.frames(self.publisher(), &publication);
        }
    }

    fn is_idle(&self) -> bool {
        self.on_the_way.is_empty()
    }

    fn missing(&self) -> String {
        let undelivered: usize = self.on_the_way.iter().map(|m| m.missing).sum();
        let unwelcome = self.subscribers.iter().filter(|s| s.hears.is_some());
        format!(
            "{undelivered} deliveries are missing, {} subscribers wait for the answer to their greeting",
            unwelcome.count()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect() -> Dialect {
        Dialect {
            subscribe: "SUB\r\n".into(),
            introduce: "HI\r\n".into(),
            welcome_end: "PONG\r\n",
            publication: |body| format!("PUB {body}\r\n").into_bytes(),
            delivery: |body| format!("MSG {body}\r\n").into_bytes(),
            heartbeat: Some(("PING\r\n", "PONG\r\n")),
        }
    }

    /// Two subscribers whose greetings were answered, and this many messages on their way.
    fn audience(in_flight: usize) -> (Audience, Wire) {
        let mut wire = Wire::new(3, Default::default());
        let mut audience = Audience::new(2, dialect());
        for client in 0..3 {
            let mut welcome = b"INFO {}\r\nPONG\r\n".to_vec();
            audience
                .received(client, &mut welcome, &mut wire)
                .expect("a welcome");
        }
        audience.begin(in_flight, &mut wire);
        audience.flush(&mut wire);
        (audience, wire)
    }

    fn delivery(number: u64) -> Vec<u8> {
        (dialect().delivery)(&body(number))
    }

    #[test]
    fn a_body_has_64_bytes_whatever_its_number() {
        assert_eq!((body(0).len(), body(9_999_999_999).len()), (64, 64));
    }

    #[test]
    fn delivery_is_complete_when_every_subscriber_has_every_byte_however_it_is_cut() {
        let (mut audience, mut wire) = audience(2);
        audience.finish();
        let mut stream = delivery(0);
        stream.extend(b"PING\r\n");
        stream.extend(delivery(1));
        for byte in &stream {
            assert!(!audience.is_idle());
            audience.received(0, &mut [*byte], &mut wire).expect("fine");
        }
        audience.received(1, &mut stream, &mut wire).expect("fine");
        assert!(audience.is_idle(), "{}", audience.missing());
    }

    #[test]
    fn lost_duplicated_changed_and_unexpected_deliveries_are_errors() {
        let wrong = |deliveries: &[u64], change: u8| {
            let (mut audience, mut wire) = audience(2);
            let stream: Vec<Vec<u8>> = deliveries.iter().map(|&n| delivery(n)).collect();
            let mut stream = stream.concat();
            *stream.last_mut().expect("something") ^= change;
            audience.received(0, &mut stream, &mut wire).is_err()
        };
        assert!(!wrong(&[0, 1], 0));
        assert!(wrong(&[1], 0));
        assert!(wrong(&[0, 0], 0));
        assert!(wrong(&[0], 1));
        assert!(wrong(&[0, 1, 2], 0));
    }
}
