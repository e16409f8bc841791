//! The loop of one shard: the one glommio task of its thread. Five steps: wait, take the completions in,
//! take mail and control in, let the driver answer, hand the answers to the kernel.

use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::Io;
use crate::allocator::give_back_memory;
use crate::clock;
use crate::engine::Engine;
use crate::engine::buffers::Buffers;
use crate::engine::driver::{Driver, Event};
use crate::engine::idle::Parking;
use crate::engine::rest::Rest;
use crate::engine::ring::Completion;
use crate::engine::token::{Op, Token};

/// How long the shard waits on its own ring before it gives the thread to glommio, and how long at most
/// it keeps it when it is busy. The engine's task is the only one of its executor, so nobody waits for
/// that turn; and parking in glommio costs several system calls, too many for a shard that sees some
/// hundred messages a second.
const TURN_US: u64 = 50_000;

/// Completions of one batch: the driver flushes at least so often.
const BATCH_MAX: usize = 1024;

/// Control messages of one batch; the rest waits for the next.
const CONTROLS_PER_BATCH_MAX: usize = 256;

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

    /// Until the driver stops it, or the ring fails.
    pub async fn run(mut self) -> std::io::Result<()> {
        let mut completions = Vec::with_capacity(BATCH_MAX);
        let mut turn_ends_us = clock::now().mono_us + TURN_US;
        let mut is_busy = false;
        while !self.engine.stopping {
            self.wait(turn_ends_us)?;
            is_busy |= self.batch(&mut completions);
            if self.engine.now.mono_us < turn_ends_us {
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
        let result = self.engine.ring.enter(want, Duration::from_micros(wait_us));
        self.engine.bell().awake();
        result
    }

    /// The thread is glommio's until the ring, another shard or another thread has something for us.
    async fn park(&mut self) -> std::io::Result<()> {
        let deadlines = [self.next_deadline(), self.rest.deadline()];
        let deadline_us = deadlines.into_iter().flatten().min();
        self.engine.bell().sleep();
        if !self.has_work() {
            self.parking
                .set_deadline(&mut self.engine.ring, clock::now().mono_us, deadline_us);
            self.parking.open(self.engine.ring.uring())?;
            // Completions from before `open` announce nothing: look for them once more.
            self.engine.ring.enter(0, Duration::ZERO)?;
            if !self.engine.ring.has_completions() && !self.has_work() {
                self.engine.stats.parks += 1;
                self.parking.sleep().await?;
            }
            self.parking.close(self.engine.ring.uring())?;
        }
        self.engine.bell().awake();
        Ok(())
    }

    /// What a burst took, when the shard has a moment.
    fn give_back(&mut self) {
        let now_us = clock::now().mono_us;
        if self.rest.is_due(now_us) {
            let unused_since_us = self.rest.unused_since_us(now_us);
            self.engine.mesh.rest(now_us, unused_since_us);
            give_back_memory();
            self.rest.rested(now_us, self.engine.mesh.queues() > 0);
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
        self.engine.now = clock::now();
        let is_due = self
            .next_deadline()
            .is_some_and(|deadline| deadline <= self.engine.now.mono_us);
        self.engine.ring.take(BATCH_MAX, completions);
        self.engine.stats.cqes += completions.len() as u64;
        let mut events = 0;
        for completion in completions.drain(..) {
            events += usize::from(self.complete(completion));
        }
        self.buffers.publish();
        self.close_slotless();
        self.move_within();
        events += self.take_mail() + self.take_control();
        if events > 0 {
            self.rest.worked();
        } else if !is_due {
            return false;
        }
        self.engine.expire();
        self.engine.stats.batches += 1;
        self.flush();
        true
    }

    fn flush(&mut self) {
        self.driver.flush(&mut Io::new(&mut self.engine));
        self.engine.end_batch();
    }

    /// False: it was only there to wake us.
    fn complete(&mut self, completion: Completion) -> bool {
        let Some(token) = Token::unpack(completion.user_data) else {
            return false;
        };
        match token.op {
            Op::Poll => self.engine.on_poll(token, completion),
            Op::Recv => self.on_recv(token, completion),
            Op::Send => self.on_send(token, completion),
            Op::Accept => self.on_accept(token, completion),
            Op::Register => self.engine.on_register(token, completion),
            Op::Connect => self.on_connect(token, completion),
            Op::Shutdown => self.engine.on_shutdown(token),
            Op::Close => self.on_close(token),
            Op::HandOut => self.engine.on_hand_out(token, completion),
            Op::HandIn => self.on_hand_in(token, completion),
            Op::WakeOut => self.engine.woke(token, completion.errno()),
            Op::Bell if !completion.more() => self.engine.watch_bell(),
            Op::Deadline => {
                self.parking.deadline_passed(token);
                return false;
            }
            Op::Ignored | Op::CloseSlot | Op::Wake | Op::Bell => return false,
        }
        true
    }

    fn take_mail(&mut self) -> usize {
        if !self.engine.mesh.has_mail() {
            return 0;
        }
        let mut collected = self.engine.mesh.collect();
        let mut count = 0;
        while let Some((from, mail)) = self.engine.mesh.take(&mut collected) {
            self.emit(Event::Mail { from, mail });
            count += 1;
        }
        self.engine.stats.mail_in += count as u64;
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
        self.engine.stats.controls_in += count as u64;
        count
    }

    pub(crate) fn emit(&mut self, event: Event<'_, D::Mail, D::Control>) {
        self.driver.event(&mut Io::new(&mut self.engine), event);
    }
}

/// One round of glommio's reactor and of its other tasks. A timer that is due at once, for a mere yield
/// would come back without the reactor.
async fn glommios_turn() {
    glommio::timer::sleep(Duration::ZERO).await;
}
