//! The loop of one shard: the one glommio task of its thread. Five steps: wait, take the completions in,
//! take mail and control in, let the driver answer, hand the answers to the kernel. Here alone the driver
//! is called.

use std::time::Duration;

use crossbeam_channel::Receiver;
use io_uring::cqueue;
use newim_proto::ids::ConnId;

use super::buffers::Buffers;
use super::driver::Driver;
use super::engine::Engine;
use super::event::{CloseCause, Event};
use super::handover::Note;
use super::idle::Parking;
use super::io::Io;
use super::rest::Rest;
use super::ring::Completion;
use super::token::{Op, Token};
use super::transport::Plain;
use crate::allocator::give_back_memory;
use crate::clock;
use crate::limits::{BATCH_MAX, CONTROLS_PER_BATCH_MAX, TURN_US};

/// Field order is drop order: the ring goes before the buffers that it writes to.
pub(crate) struct Shard<D: Driver> {
    pub engine: Engine<D::Mail>,
    pub buffers: Buffers,
    pub parking: Parking,
    pub rest: Rest,
    pub driver: D,
    pub control: Receiver<D::Control>,
}

impl<D: Driver> Shard<D> {
    /// Once, before `run`.
    pub fn begin(&mut self) {
        self.driver.started(&mut Io::new(&mut self.engine));
        self.flush();
    }

    /// Runs until the driver stops it, or the ring fails.
    pub async fn run(mut self) -> std::io::Result<()> {
        let mut completions = Vec::with_capacity(BATCH_MAX);
        let mut turn_ends_us = clock::now().mono_us + TURN_US;
        let mut is_busy = false;
        while !self.engine.is_stopping() {
            self.wait(turn_ends_us)?;
            is_busy |= self.batch(&mut completions);
            if self.engine.now().mono_us < turn_ends_us {
                continue;
            }
            self.give_back();
            if is_busy {
                glommios_turn().await;
            } else {
                self.park().await?;
            }
            is_busy = false;
            turn_ends_us = clock::now().mono_us + TURN_US;
        }
        Ok(())
    }

    /// Submits, and waits until something happens, a deadline passes or the turn ends.
    fn wait(&mut self, turn_ends_us: u64) -> std::io::Result<()> {
        let now_us = clock::now().mono_us;
        let until_us = self.next_deadline().unwrap_or(u64::MAX).min(turn_ends_us);
        let wait_us = until_us.saturating_sub(now_us);
        self.engine.bell().sleep();
        let want = u32::from(wait_us > 0 && !self.has_work());
        let result = self
            .engine
            .ring()
            .enter(want, Duration::from_micros(wait_us));
        self.engine.bell().awake();
        result
    }

    /// The thread is glommio's until the ring, another shard or another thread has something for us.
    async fn park(&mut self) -> std::io::Result<()> {
        let deadlines = [self.next_deadline(), self.rest.deadline()];
        let deadline_us = deadlines.into_iter().flatten().min();
        self.engine.bell().sleep();
        if !self.has_work() {
            let now_us = clock::now().mono_us;
            self.parking
                .set_deadline(self.engine.ring(), now_us, deadline_us);
            self.parking.open(self.engine.ring().uring())?;
            // Completions from before `open` announce nothing: look for them once more.
            self.engine.ring().enter(0, Duration::ZERO)?;
            if !self.engine.ring().has_completions() && !self.has_work() {
                self.engine.stats_mut().parks += 1;
                self.parking.sleep().await?;
            }
            self.parking.close(self.engine.ring().uring())?;
        }
        self.engine.bell().awake();
        Ok(())
    }

    /// Gives back what a burst took, when the shard has a moment.
    fn give_back(&mut self) {
        let now_us = clock::now().mono_us;
        if self.rest.is_due(now_us) {
            let unused_since_us = self.rest.unused_since_us(now_us);
            self.engine.mesh().rest(now_us, unused_since_us);
            give_back_memory();
            self.rest.rested(now_us, self.engine.mesh_queues() > 0);
        }
    }

    /// Work that is there already, whatever the ring says.
    fn has_work(&self) -> bool {
        self.engine.has_work() || !self.control.is_empty()
    }

    fn next_deadline(&self) -> Option<u64> {
        self.driver
            .next_deadline()
            .into_iter()
            .chain(self.engine.next_deadline())
            .min()
    }

    /// Takes in all that is there; false if that was nothing.
    fn batch(&mut self, completions: &mut Vec<Completion>) -> bool {
        self.engine.begin_batch(BATCH_MAX, completions);
        let now_us = self.engine.now().mono_us;
        let is_due = self
            .next_deadline()
            .is_some_and(|deadline| deadline <= now_us);
        let mut events = 0;
        for completion in completions.drain(..) {
            events += usize::from(self.complete(completion));
        }
        self.buffers.publish();
        for id in self.engine.take_unregistered() {
            self.closed(id);
        }
        for id in self.engine.take_moving() {
            self.move_within(id);
        }
        events += self.take_mail() + self.take_control();
        if events > 0 {
            self.rest.worked();
        } else if !is_due {
            return false;
        }
        self.engine.expire();
        self.engine.stats_mut().batches += 1;
        self.flush();
        true
    }

    fn flush(&mut self) {
        self.driver.flush(&mut Io::new(&mut self.engine));
        self.engine.end_batch();
    }

    /// Hands one completion on, and tells the driver what came of it. False: it was only there to wake us.
    fn complete(&mut self, completion: Completion) -> bool {
        let Some(token) = Token::unpack(completion.user_data) else {
            return false;
        };
        let conn = token.conn();
        match token.op {
            Op::Poll => self.engine.polled(conn, completion),
            Op::Recv => self.receive(conn, completion),
            Op::Send => {
                if let Some(buf) = self.engine.sent(conn, completion) {
                    self.emit(Event::Sent { conn, buf });
                }
            }
            Op::Accept => {
                let listener = token.index as usize;
                if let Some(conn) = self.engine.accepted(listener, completion) {
                    self.emit(Event::Accepted { conn, listener });
                }
            }
            Op::Register => self.engine.registered(conn, completion),
            Op::Connect => {
                if self.engine.connected(conn, completion) {
                    self.emit(Event::Connected { conn });
                }
            }
            Op::Shutdown => self.engine.shut_down(conn),
            Op::Close => self.closed(conn),
            Op::HandOut => self.engine.handed_out(conn, completion),
            Op::HandIn => {
                if let Some((conn, note)) = self.engine.handed_in(token, completion) {
                    self.handed_over(conn, note);
                }
            }
            Op::WakeOut => self.engine.woke(token, completion),
            Op::Bell if !completion.more() => self.engine.watch_bell(),
            Op::Deadline => {
                self.parking.deadline_passed(token);
                return false;
            }
            Op::Ignored | Op::CloseDescriptor | Op::Wake | Op::Bell => return false,
        }
        true
    }

    /// The receive buffer is the driver's for the call, and the kernel's again after it.
    fn receive(&mut self, conn: ConnId, completion: Completion) {
        let buffer = cqueue::buffer_select(completion.flags);
        let bytes = match buffer {
            Some(buffer) => self
                .buffers
                .bytes(buffer, completion.result.max(0) as usize),
            None => &mut [],
        };
        let mut io = Io::new(&mut self.engine);
        match io.engine.received(conn, completion, bytes) {
            Plain::None => {}
            Plain::Here(bytes) => self.driver.event(&mut io, Event::Received { conn, bytes }),
            Plain::Apart(mut bytes) => {
                let bytes = &mut bytes[..];
                self.driver.event(&mut io, Event::Received { conn, bytes });
            }
        }
        self.engine.read_on(conn, completion);
        if let Some(buffer) = buffer {
            self.buffers.give_back(buffer);
        }
    }

    fn closed(&mut self, conn: ConnId) {
        if let Some(cause) = self.engine.closed(conn) {
            self.emit(Event::Closed { conn, cause });
        }
    }

    /// A hand-over to the own shard: only the id changes.
    fn move_within(&mut self, old: ConnId) {
        if let Some((conn, note)) = self.engine.move_within(old) {
            self.emit(Event::Closed {
                conn: old,
                cause: CloseCause::HandedOver,
            });
            self.handed_over(conn, note);
        }
    }

    fn handed_over(&mut self, conn: ConnId, note: Note) {
        let Note { from, tag, .. } = note;
        self.emit(Event::HandedOver { conn, from, tag });
        if let Some(mut unread) = self.engine.unread(conn, note.unread) {
            let bytes = &mut unread[..];
            self.emit(Event::Received { conn, bytes });
        }
        self.engine.begin_reading(conn);
    }

    fn take_mail(&mut self) -> usize {
        if !self.engine.mesh().has_mail() {
            return 0;
        }
        let mut collected = self.engine.mesh().collect();
        let mut count = 0;
        while let Some((from, mail)) = self.engine.mesh().take(&mut collected) {
            self.emit(Event::Mail { from, mail });
            count += 1;
        }
        self.engine.stats_mut().mail_in += count as u64;
        count
    }

    fn take_control(&mut self) -> usize {
        let mut count = 0;
        while count < CONTROLS_PER_BATCH_MAX
            && let Ok(control) = self.control.try_recv()
        {
            self.emit(Event::Control(control));
            count += 1;
        }
        self.engine.stats_mut().controls_in += count as u64;
        count
    }

    fn emit(&mut self, event: Event<'_, D::Mail, D::Control>) {
        self.driver.event(&mut Io::new(&mut self.engine), event);
    }
}

/// One round of glommio's reactor and of its other tasks. A timer that is due at once, for a mere yield
/// would come back without the reactor.
async fn glommios_turn() {
    glommio::timer::sleep(Duration::ZERO).await;
}
