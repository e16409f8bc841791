//! Two users who chat while another peer misbehaves. Whatever it does, they notice nothing.

use std::net::SocketAddr;

use crate::client::Client;

pub struct Bystanders {
    one: Client,
    other: Client,
    boxid: String,
    said: u32,
}

impl Bystanders {
    /// Number of their connections.
    pub const COUNT: f64 = 2.0;

    /// `name` makes their box and uids different from those of other tests on the same node.
    pub fn new(ws: SocketAddr, name: &str) -> Bystanders {
        let boxid = format!("{name}-bystanders");
        let mut one = Client::v2(ws, &format!("{name}-one"));
        let mut other = Client::v2(ws, &format!("{name}-other"));
        one.join(&boxid);
        other.join(&boxid);
        let mut bystanders = Bystanders {
            one,
            other,
            boxid,
            said: 0,
        };
        bystanders.assert_unaffected();
        bystanders
    }

    /// Each still hears what the other says, on the connections that they had from the start.
    pub fn assert_unaffected(&mut self) {
        self.said += 1;
        let (ask, answer) = (
            format!("ask {}", self.said),
            format!("answer {}", self.said),
        );
        self.one.chat(&self.boxid, &ask);
        self.other.expect_body(&ask);
        self.other.chat(&self.boxid, &answer);
        self.one.expect_body(&answer);
    }
}
