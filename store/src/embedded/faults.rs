//! For tests: files whose disk is full, or fails its syncs, when the test says so.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;

/// The switches, shared with the test.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub full: Arc<AtomicBool>,
    pub unsynced: Arc<AtomicBool>,
}

impl Faults {
    /// Fails a write that needs room, while the disk is full.
    pub fn write(&self) -> io::Result<()> {
        fail_if(&self.full, io::ErrorKind::StorageFull)
    }

    pub fn sync(&self) -> io::Result<()> {
        fail_if(&self.unsynced, io::ErrorKind::Other)
    }

    pub fn backend(&self, path: &Path) -> Result<FaultyFile, redb::DatabaseError> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        Ok(FaultyFile {
            file: FileBackend::new(file)?,
            faults: self.clone(),
        })
    }
}

#[derive(Debug)]
pub(super) struct FaultyFile {
    file: FileBackend,
    faults: Faults,
}

fn fail_if(switch: &AtomicBool, kind: io::ErrorKind) -> io::Result<()> {
    match switch.load(Ordering::SeqCst) {
        true => Err(kind.into()),
        false => Ok(()),
    }
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.write()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.sync()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.write()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
