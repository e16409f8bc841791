//! Making a connection: URL, cookie, subprotocol.

use std::fmt;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, error::UrlError};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::limits::{CONNECT_MS_MAX, MESSAGE_BYTES_MAX};

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const SUBPROTOCOL: &str = "newim.v2";
/// Where to connect, and as which user: checked once, used for every connection.
#[derive(Clone, Debug)]
pub struct Target {
    request: Request<()>,
}

impl Target {
    /// Errors: what is wrong with the URL or the uid.
    pub fn new(url: &str, uid: &str) -> Result<Self, String> {
        if url.starts_with("wss://") {
            return Err(
                "this client speaks no TLS (wss://): connect to the node itself, behind what ends TLS"
                    .into(),
            );
        }
        if !url.starts_with("ws://") {
            return Err(format!(
                "`{url}` is not a WebSocket URL: write ws://HOST:PORT"
            ));
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

    /// Connects and upgrades, within [`CONNECT_MS_MAX`].
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

/// Why a connection was not made.
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
}
