//! Making the connection: URL, cookie, subprotocol; and how long to wait before the next try.

use std::fmt;
use std::time::Duration;

use newim_proto::limits;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, error::UrlError};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const SUBPROTOCOL: &str = "newim.v2";
const CONNECT_MS_MAX: u64 = 10_000;
const BACK_OFF_MS_MIN: u64 = 250;
const BACK_OFF_MS_MAX: u64 = 10_000;
/// More than any node sends in one message.
const MESSAGE_BYTES_MAX: usize = 2 * limits::ECHO_MESSAGE_BYTES_MAX;

/// Where to connect and who one is there: checked, to be used for each connection.
#[derive(Clone, Debug)]
pub struct Target {
    request: Request<()>,
}

impl Target {
    /// Errors: what is wrong with the URL or the uid.
    pub fn new(url: &str, uid: &str) -> Result<Self, String> {
        if url.starts_with("wss://") {
            return Err(
                "wss:// is not spoken here: put the client on the same side of TLS as the node"
                    .into(),
            );
        }
        if !url.starts_with("ws://") {
            return Err(format!("`{url}` is no WebSocket URL: write ws://HOST:PORT"));
        }
        let mut request = url
            .into_client_request()
            .map_err(|error| format!("`{url}`: {error}"))?;
        newim_proto::ids::Uid::parse(uid).map_err(|error| format!("the uid {error}"))?;
        let cookie = HeaderValue::from_str(&format!("sid={}", percent_encoded(uid)))
            .expect("percent-encoded text is a header value");
        let headers = request.headers_mut();
        headers.insert(header::COOKIE, cookie);
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
        Ok(Self { request })
    }

    pub async fn connect(&self) -> Result<Socket, ConnectError> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let connecting = connect_async_with_config(self.request.clone(), Some(config), true);
        match timeout(Duration::from_millis(CONNECT_MS_MAX), connecting).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(ConnectError::from(error)),
            Err(_) => Err(ConnectError::Unreachable(format!(
                "no answer within {CONNECT_MS_MAX} ms"
            ))),
        }
    }
}

/// RFC 6265 allows fewer characters in a cookie than a uid may have.
fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[derive(Debug)]
pub enum ConnectError {
    /// Nobody there, or nobody that speaks WebSocket.
    Unreachable(String),
    /// The node answered, and not with a WebSocket.
    Refused { status: u16, text: String },
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        match error {
            Error::Http(response) => {
                let body = response.body().as_deref().unwrap_or_default();
                let text = String::from_utf8_lossy(body).trim().to_owned();
                ConnectError::Refused {
                    status: response.status().as_u16(),
                    text,
                }
            }
            Error::Io(error) => ConnectError::Unreachable(error.to_string()),
            Error::Url(UrlError::UnableToConnect(_)) => {
                ConnectError::Unreachable("connection refused".into())
            }
            other => ConnectError::Unreachable(other.to_string()),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Unreachable(why) => f.write_str(why),
            ConnectError::Refused { status, text } => write!(f, "HTTP {status} {text}"),
        }
    }
}

/// Waits that double with each failure. Jittered, so that clients that lost one node together don't
/// come to the next together.
#[derive(Debug, Default)]
pub struct BackOff {
    failures: u32,
}

impl BackOff {
    /// `random` is uniform in 0..1.
    pub fn next_ms(&mut self, random: f64) -> u64 {
        let doubled = BACK_OFF_MS_MIN << self.failures.min(16);
        self.failures += 1;
        let bound = doubled.min(BACK_OFF_MS_MAX) as f64;
        (bound / 2.0 + random * bound / 2.0) as u64
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_user_and_the_protocol() {
        let target = Target::new("ws://127.0.0.1:8180", "zoë; x").unwrap();
        let headers = target.request.headers();
        assert_eq!(headers[header::COOKIE], "sid=zo%C3%AB%3B%20x");
        assert_eq!(headers[header::SEC_WEBSOCKET_PROTOCOL], "newim.v2");
    }

    #[test]
    fn a_wrong_url_or_uid_says_what_to_write() {
        assert!(
            Target::new("127.0.0.1:8180", "a")
                .unwrap_err()
                .contains("ws://HOST:PORT")
        );
        assert!(Target::new("wss://x", "a").unwrap_err().contains("TLS"));
        assert!(Target::new("ws://", "a").is_err());
        assert!(Target::new("ws://h:1", "").unwrap_err().contains("empty"));
    }

    #[test]
    fn waits_double_up_to_a_bound_and_are_jittered() {
        let mut back_off = BackOff::default();
        assert_eq!(back_off.next_ms(0.0), 125);
        assert_eq!(back_off.next_ms(1.0), 500);
        for _ in 0..80 {
            assert!(back_off.next_ms(1.0) <= BACK_OFF_MS_MAX);
        }
        assert_eq!(back_off.next_ms(0.0), BACK_OFF_MS_MAX / 2);
        back_off.succeeded();
        assert_eq!(back_off.next_ms(1.0), 250);
    }
}
