//! The token by which a completion says where it came from: operation, connection and generation in the 64
//! bits of an SQE's user_data. Made and read on the shard's own core, but for `HandIn` and `Wake`, which one
//! shard makes and another reads.

use newim_proto::ids::ConnId;

/// The largest index: those of connections, listeners and shards all fit in 24 bits.
pub(crate) const INDEX_MAX: u32 = (1 << 24) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    /// Nothing waits for it: a cancel.
    Ignored,
    Accept,
    Poll,
    Recv,
    Send,
    /// A socket that `connect` made is put into the table.
    Register,
    Connect,
    Shutdown,
    Close,
    /// A descriptor that no connection ever had is closed.
    CloseDescriptor,
    /// On the giving shard: a socket was sent to another ring.
    HandOut,
    /// On the receiving shard: the socket came in.
    HandIn,
    /// On the sending shard: a wake-up was sent.
    WakeOut,
    /// On the woken shard: the wake-up came in.
    Wake,
    /// A poll of the eventfd that other threads wake this shard by.
    Bell,
    /// The deadline of a parked shard.
    Deadline,
}

const OPS: [Op; 16] = [
    Op::Ignored,
    Op::Accept,
    Op::Poll,
    Op::Recv,
    Op::Send,
    Op::Register,
    Op::Connect,
    Op::Shutdown,
    Op::Close,
    Op::CloseDescriptor,
    Op::HandOut,
    Op::HandIn,
    Op::WakeOut,
    Op::Wake,
    Op::Bell,
    Op::Deadline,
];

/// Operation (8 bits), index (24 bits), generation (32 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub op: Op,
    pub index: u32,
    pub generation: u32,
}

impl Token {
    pub fn of_conn(op: Op, conn: ConnId) -> Token {
        Token {
            op,
            index: conn.index,
            generation: conn.generation,
        }
    }

    pub fn of_index(op: Op, index: u32) -> Token {
        Token {
            op,
            index,
            generation: 0,
        }
    }

    pub fn bare(op: Op) -> Token {
        Token::of_index(op, 0)
    }

    pub fn conn(self) -> ConnId {
        ConnId {
            index: self.index,
            generation: self.generation,
        }
    }

    pub fn pack(self) -> u64 {
        debug_assert!(self.index <= INDEX_MAX);
        (self.op as u64) << 56 | u64::from(self.index) << 32 | u64::from(self.generation)
    }

    /// None for bits that no token has.
    pub fn unpack(bits: u64) -> Option<Token> {
        let op = *OPS.get((bits >> 56) as usize)?;
        Some(Token {
            op,
            index: (bits >> 32) as u32 & INDEX_MAX,
            generation: bits as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_kernel() {
        for (number, op) in OPS.into_iter().enumerate() {
            assert_eq!(op as usize, number, "the table is in the order of the enum");
            let token = Token {
                op,
                index: INDEX_MAX - number as u32,
                generation: u32::MAX - 1,
            };
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
    }

    #[test]
    fn foreign_bits_are_no_token() {
        assert_eq!(Token::unpack(u64::MAX), None);
    }
}
