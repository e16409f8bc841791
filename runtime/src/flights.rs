//! The buffers of sends that the kernel has: one for each connection that is sending, none for the many
//! that are not. A buffer is owned here until the kernel is done with it, whatever becomes of the connection.
//! On the shard's own core; used by `send` alone.

use newim_proto::sendbuf::SendBuf;

use crate::limits::QUIET_FLIGHTS_MAX;

#[derive(Debug)]
pub(crate) struct Flight {
    pub buf: SendBuf,
    /// Bytes of the buffer that the kernel took.
    pub moved: u32,
}

/// The place of a connection's flight, plus one; zero while it sends nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlightPlace(u32);

#[derive(Default)]
pub(crate) struct Flights {
    places: Vec<Option<Flight>>,
    free: Vec<u32>,
}

impl FlightPlace {
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl Flights {
    #[inline]
    pub fn begin(&mut self, buf: SendBuf) -> FlightPlace {
        let flight = Some(Flight { buf, moved: 0 });
        let at = match self.free.pop() {
            Some(at) => {
                self.places[at as usize] = flight;
                at
            }
            None => {
                self.places.push(flight);
                self.places.len() as u32 - 1
            }
        };
        FlightPlace(at + 1)
    }

    #[inline]
    pub fn get(&mut self, place: FlightPlace) -> Option<&mut Flight> {
        self.places[place.0.checked_sub(1)? as usize].as_mut()
    }

    /// Returns the buffer, and frees the place for another.
    #[inline]
    pub fn end(&mut self, place: &mut FlightPlace) -> Option<SendBuf> {
        let at = std::mem::take(place).0.checked_sub(1)?;
        let flight = self.places[at as usize].take()?;
        self.free.push(at);
        if self.free.len() == self.places.len() && self.places.capacity() > QUIET_FLIGHTS_MAX {
            *self = Flights::default();
        }
        Some(flight.buf)
    }

    pub fn heap_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Option<Flight>>()
            + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_stays_until_its_flight_ends() {
        let mut flights = Flights::default();
        let mut place = flights.begin(SendBuf::Owned(vec![1, 2, 3]));
        flights.get(place).expect("in flight").moved = 2;
        let buf = flights.end(&mut place).expect("in flight");
        assert_eq!(buf.as_ref(), [1, 2, 3]);
        assert!(place.is_none() && flights.get(place).is_none());
        assert!(flights.end(&mut place).is_none());
    }

    #[test]
    fn a_burst_gives_its_memory_back() {
        let mut flights = Flights::default();
        let mut places: Vec<FlightPlace> = (0..2 * QUIET_FLIGHTS_MAX)
            .map(|_| flights.begin(SendBuf::Owned(Vec::new())))
            .collect();
        for place in &mut places {
            flights.end(place);
        }
        assert_eq!(flights.heap_bytes(), 0);
    }
}
