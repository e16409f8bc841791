//! The write-ahead log: takes the changes of each group with one write and one sync. After that they are on
//! disk and may be answered; the tables follow at the next checkpoint. Lives on the writer thread; the engine
//! owns it.
//!
//! The log is written in rounds, and one checkpoint settles one round. Two files take turns: while the round in
//! one file is being settled, the next round goes into the other, from its start and over what is there, so
//! that a sync brings data to the disk and hardly ever a new length of a file. A frame carries a MAC
//! under a key of its round, so nothing of an earlier round, nothing half written and nothing that a
//! client put into a message can pass for a frame of this round.
//!
//! A frame: marker of the round (8 bytes), MAC of all that follows (16), number of the frame (8, counted on
//! from round to round), length of the records (4), records.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use newim_proto::ids::{BoxId, Uid};
use newim_proto::log::{Append, Head, Mark};

use super::records;
use crate::limits::{WAL_BUFFER_KEPT_BYTES_MAX, WAL_GROWTH_BYTES};

/// The two files within the data folder: for the even rounds, and for the odd ones.
pub(super) const FILE_NAMES: [&str; 2] = ["messages.0.wal", "messages.1.wal"];
const MARKER_BYTES: usize = 8;
// Offsets in a frame: of the MAC, of what it signs, of the records.
const MAC_AT: usize = MARKER_BYTES;
const SIGNED_AT: usize = MAC_AT + 16;
pub(super) const HEADER_BYTES: usize = SIGNED_AT + 8 + 4;

/// Secret of one log, for its whole life. Nobody outside may know it.
pub(super) type Key = [u8; 32];

/// The end of a round: what a checkpoint of it settles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub round: u64,
    /// Number of frames in this round and all before it.
    pub frames: u64,
}

pub(super) struct Wal {
    files: [File; 2],
    lengths: [u64; 2],
    key: Key,
    round: Round,
    /// The end of the present round, so far.
    at: Position,
    /// Offset in the round's file at which the next frame goes.
    end: u64,
    /// The frame in the making: room for its header, then its records.
    frame: Vec<u8>,
    #[cfg(test)]
    pub faults: Option<super::faults::Faults>,
}

impl Wal {
    /// Opens the files, making them when they are missing. Nothing may be put in before [`Wal::go_on`].
    pub fn open(folder: &Path, key: Key) -> io::Result<Wal> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let [even, odd] = FILE_NAMES.map(|name| options.open(folder.join(name)));
        let files = [even?, odd?];
        Ok(Wal {
            lengths: [files[0].metadata()?.len(), files[1].metadata()?.len()],
            files,
            key,
            round: Round::of(&key, 0),
            at: Position::default(),
            end: 0,
            frame: vec![0; HEADER_BYTES],
            #[cfg(test)]
            faults: None,
        })
    }

    /// Reads the records of each frame after the settled position, and the position where they end: those of
    /// the next round, and of the one after it, if that was begun. A frame that a crash cut off ends them.
    /// InvalidData: a later frame is there, so one that was answered is damaged.
    pub fn unsettled(&self, settled: Position) -> io::Result<(Vec<Vec<u8>>, Position)> {
        let mut at = settled;
        let mut frames = Vec::new();
        for _ in 0..self.files.len() {
            at.round += 1;
            self.read_round(&mut at, &mut frames)?;
        }
        Ok((frames, at))
    }

    fn read_round(&self, at: &mut Position, frames: &mut Vec<Vec<u8>>) -> io::Result<()> {
        let file = &self.files[file_of(at.round)];
        let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).expect("64 bits")];
        file.read_exact_at(&mut bytes, 0)?;
        let round = Round::of(&self.key, at.round);
        let mut end = 0;
        while let Some((number, records)) = round.frame_at(&bytes, end) {
            if number != at.frames {
                return Err(damaged(at.round, end));
            }
            end = records.end;
            frames.push(bytes[records].to_vec());
            at.frames += 1;
        }
        // A frame that was cut off may be there with its marker, and is the last that was begun.
        let after = bytes.get(end + MARKER_BYTES..).unwrap_or_default();
        match after.windows(MARKER_BYTES).any(|is| is == round.marker) {
            true => Err(damaged(at.round, end)),
            false => Ok(()),
        }
    }

    /// Begins the round after `at`, which was never begun before.
    pub fn go_on(&mut self, at: Position, bytes_max: u64) -> io::Result<()> {
        self.at = Position {
            round: at.round + 1,
            ..at
        };
        self.round = Round::of(&self.key, self.at.round);
        self.end = 0;
        self.frame.truncate(HEADER_BYTES);
        let at = file_of(self.at.round);
        if self.lengths[at] > 2 * bytes_max {
            self.files[at].set_len(bytes_max)?;
            self.lengths[at] = bytes_max;
        }
        Ok(())
    }

    /// The position that a checkpoint of everything in the log settles.
    pub fn position(&self) -> Position {
        self.at
    }

    /// Bytes written in this round.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    pub fn append(&mut self, append: &Append, at: Head) {
        records::write_append(append, at, &mut self.frame);
    }

    pub fn mark(&mut self, mark: &Mark) {
        records::write_mark(mark, &mut self.frame);
    }

    pub fn listed(&mut self, uid: &Uid, boxid: &BoxId) {
        records::write_listed(uid, boxid, &mut self.frame);
    }

    /// Writes and syncs what was put in since the last commit. Ok: all of it is on the disk; false: nothing was
    /// put in. After an error the file must be opened anew, as nobody
    /// knows what of the frame is there.
    pub fn commit(&mut self) -> io::Result<bool> {
        let records_bytes = self.frame.len() - HEADER_BYTES;
        if records_bytes == 0 {
            return Ok(false);
        }
        let records_bytes = u32::try_from(records_bytes).expect("a group is far below 4 GB");
        self.frame[..MAC_AT].copy_from_slice(&self.round.marker);
        self.frame[SIGNED_AT..SIGNED_AT + 8].copy_from_slice(&self.at.frames.to_le_bytes());
        self.frame[SIGNED_AT + 8..HEADER_BYTES].copy_from_slice(&records_bytes.to_le_bytes());
        let mac = self.round.mac(&self.frame[SIGNED_AT..]);
        self.frame[MAC_AT..SIGNED_AT].copy_from_slice(&mac);
        self.write()?;
        self.end += self.frame.len() as u64;
        self.at.frames += 1;
        self.frame.truncate(HEADER_BYTES);
        self.frame.shrink_to(WAL_BUFFER_KEPT_BYTES_MAX);
        Ok(true)
    }

    /// Makes the file longer in advance. Ok: the next frames, up to one growth of the file, have room on the
    /// disk.
    pub fn make_room(&mut self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            faults.write()?;
            faults.sync()?;
        }
        self.grow(self.end + WAL_GROWTH_BYTES)?;
        self.files[file_of(self.at.round)].sync_data()
    }

    fn write(&mut self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            faults.write()?;
        }
        self.grow(self.end + self.frame.len() as u64)?;
        let file = &self.files[file_of(self.at.round)];
        file.write_all_at(&self.frame, self.end)?;
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            faults.sync()?;
        }
        file.sync_data()
    }

    /// Makes the present round's file longer, unless it reaches to `end` already.
    fn grow(&mut self, end: u64) -> io::Result<()> {
        let at = file_of(self.at.round);
        let (file, length) = (&self.files[at], &mut self.lengths[at]);
        if end > *length {
            file.write_all_at(&vec![0; WAL_GROWTH_BYTES as usize], *length)?;
            *length = end.max(*length + WAL_GROWTH_BYTES);
        }
        Ok(())
    }
}

fn file_of(round: u64) -> usize {
    (round % 2) as usize
}

fn damaged(round: u64, at: usize) -> io::Error {
    let name = FILE_NAMES[file_of(round)];
    let text = format!("{name} is damaged at byte {at}, and acknowledged messages follow");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Marker and key by which the frames of one round are known.
struct Round {
    key: Key,
    /// Nobody outside knows it, so a frame was begun wherever it stands.
    marker: [u8; MARKER_BYTES],
}

impl Round {
    fn of(key: &Key, number: u64) -> Round {
        let key = *blake3::keyed_hash(key, &number.to_le_bytes()).as_bytes();
        let marker = blake3::keyed_hash(&key, b"marker");
        Round {
            key,
            marker: *marker.as_bytes().first_chunk().expect("32 bytes hold 8"),
        }
    }

    fn mac(&self, signed: &[u8]) -> [u8; SIGNED_AT - MAC_AT] {
        let hash = blake3::keyed_hash(&self.key, signed);
        *hash.as_bytes().first_chunk().expect("32 bytes hold 16")
    }

    /// The number and the records of the frame at this offset, if a whole one is there.
    fn frame_at(&self, bytes: &[u8], at: usize) -> Option<(u64, Range<usize>)> {
        let (marker, rest) = bytes.get(at..)?.split_first_chunk::<MARKER_BYTES>()?;
        let (mac, signed) = rest.split_first_chunk()?;
        let (number, rest) = signed.split_first_chunk::<8>()?;
        let (length, records) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let is_whole = *marker == self.marker
            && length <= records.len()
            && *mac == self.mac(&signed[..8 + 4 + length]);
        let start = at + HEADER_BYTES;
        is_whole.then(|| (u64::from_le_bytes(*number), start..start + length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: u64 = 1000;
    const KEY: Key = [1; 32];

    /// A log after this many rounds.
    fn wal(folder: &Path, rounds: u64) -> Wal {
        let mut wal = Wal::open(folder, KEY).expect("opened");
        wal.go_on(ended(rounds, 0), BYTES_MAX).expect("begun");
        wal
    }

    fn ended(round: u64, frames: u64) -> Position {
        Position { round, frames }
    }

    fn put(wal: &mut Wal, uid: &str) {
        let name = |name| BoxId::parse(name).expect("a name");
        wal.listed(&Uid::parse(uid).expect("a name"), &name("box"));
        wal.commit().expect("written");
    }

    fn frame_count(wal: &Wal, settled: Position) -> usize {
        wal.unsettled(settled).expect("undamaged").0.len()
    }

    #[test]
    fn a_round_written_over_a_longer_one_has_its_own_frames_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut wal = wal(folder.path(), 0);
        for _ in 0..5 {
            put(&mut wal, "ann");
        }
        wal.commit().expect("nothing to write");
        assert_eq!(wal.position(), ended(1, 5));
        wal.go_on(wal.position(), BYTES_MAX).expect("begun");
        put(&mut wal, "ann");
        assert_eq!(
            wal.unsettled(ended(0, 0)).expect("undamaged").1,
            ended(2, 6)
        );
        wal.go_on(wal.position(), BYTES_MAX).expect("begun");
        for _ in 0..2 {
            put(&mut wal, "ann"); // as long as those it is written over
        }
        let (frames, end) = wal.unsettled(ended(1, 5)).expect("undamaged");
        assert_eq!((frames.len(), end), (3, ended(3, 8)));
        assert_eq!(frame_count(&wal, ended(2, 6)), 2);
        let other = Wal::open(folder.path(), [2; 32]).expect("opened");
        assert_eq!(frame_count(&other, ended(2, 6)), 0, "of another log");
    }

    #[test]
    fn a_frame_that_is_cut_off_ends_the_round() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut wal = wal(folder.path(), 0);
        put(&mut wal, "ann");
        let whole = wal.bytes();
        put(&mut wal, "bob");
        for length in (whole..wal.bytes()).rev() {
            wal.files[1].set_len(length).expect("cut");
            assert_eq!(frame_count(&wal, ended(0, 0)), 1, "{length} bytes");
        }
    }

    #[test]
    fn a_damaged_frame_with_others_after_it_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut wal = wal(folder.path(), 0);
        for _ in 0..3 {
            put(&mut wal, "ann");
        }
        let mut bytes = std::fs::read(folder.path().join(FILE_NAMES[1])).expect("there");
        bytes.truncate(wal.bytes() as usize);
        for at in 0..bytes.len() {
            let write = |byte| wal.files[1].write_all_at(&[byte], at as u64);
            write(!bytes[at]).expect("written");
            match at < bytes.len() * 2 / 3 {
                true => assert!(wal.unsettled(ended(0, 0)).is_err(), "byte {at}"),
                false => assert_eq!(frame_count(&wal, ended(0, 0)), 2, "byte {at}"),
            }
            write(bytes[at]).expect("written");
        }
    }

    #[test]
    fn a_round_without_its_end_is_an_error_when_another_round_follows() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut wal = wal(folder.path(), 0);
        put(&mut wal, "ann");
        put(&mut wal, "bob");
        let whole = wal.bytes();
        wal.go_on(wal.position(), BYTES_MAX).expect("begun");
        wal.files[1].set_len(whole - 1).expect("cut");
        assert_eq!(frame_count(&wal, ended(0, 0)), 1, "nothing follows yet");
        put(&mut wal, "eve");
        assert!(wal.unsettled(ended(0, 0)).is_err());
    }

    #[test]
    fn memory_and_disk_of_a_large_group_are_given_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut wal = wal(folder.path(), 0);
        for _ in 0..100_000 {
            wal.listed(
                &Uid::parse("ann").expect("a name"),
                &BoxId::parse("box").expect("a name"),
            );
        }
        wal.commit().expect("written");
        assert!(wal.frame.capacity() <= WAL_BUFFER_KEPT_BYTES_MAX);
        assert!(wal.bytes() > 2 * BYTES_MAX);
        for _ in 0..2 {
            wal.go_on(wal.position(), BYTES_MAX).expect("begun");
        }
        assert_eq!(wal.files[1].metadata().expect("a file").len(), BYTES_MAX);
        put(&mut wal, "ann");
        put(&mut wal, "bob");
        let (frames, _) = wal.unsettled(ended(2, 1)).expect("undamaged");
        assert_eq!(frames.len(), 2, "the file has grown again");
    }
}
