//! The data folder before a store is opened in it: makes it, and removes what a start has made there when the
//! store can't be opened after all. Called once, at the start, by the thread that opens.

use std::fs;
use std::path::{Path, PathBuf};

use super::OpenError;
use super::engine::TABLES_FILE_NAME;
use super::wal;

/// The folders and files that one start makes, in case it is refused.
#[derive(Debug)]
pub(super) struct Made {
    folder: PathBuf,
    /// Folders that were missing, the innermost first.
    folders: Vec<PathBuf>,
    /// There was no store before, so its files are this start's.
    is_new: bool,
}

/// Makes the folder and those above it, where they are missing.
pub(super) fn make(folder: &Path) -> Result<Made, OpenError> {
    let missing = folder.ancestors().take_while(|path| !path.exists());
    let made = Made {
        folder: folder.into(),
        folders: missing.map(Path::to_path_buf).collect(),
        is_new: !folder.join(TABLES_FILE_NAME).exists(),
    };
    fs::create_dir_all(folder).map_err(|error| {
        made.remove();
        OpenError::Folder {
            path: folder.into(),
            error,
        }
    })?;
    Ok(made)
}

impl Made {
    /// Removes what this start made, and nothing that was there before. A half-made store could not be opened
    /// again.
    pub fn remove(&self) {
        if self.is_new {
            for name in [TABLES_FILE_NAME].iter().chain(&wal::FILE_NAMES) {
                let _ = fs::remove_file(self.folder.join(name)); // perhaps it was never made
            }
        }
        for folder in &self.folders {
            let _ = fs::remove_dir(folder); // fails, rightly, where somebody else has put something
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EmbeddedConfig, EmbeddedStore};
    use super::*;

    fn refusal(folder: &Path) -> OpenError {
        let opened = EmbeddedStore::open(folder, EmbeddedConfig::default());
        opened.err().expect("refused")
    }

    #[test]
    fn a_store_that_could_not_be_made_leaves_no_trace() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("data");
        let in_the_way = folder.join(wal::FILE_NAMES[1]);
        fs::create_dir_all(&in_the_way).expect("made");
        let error = refusal(&folder);
        assert!(matches!(error, OpenError::Wal { .. }), "{error}");
        let left: Vec<_> = fs::read_dir(&folder).expect("there").flatten().collect();
        let names: Vec<_> = left.iter().map(|entry| entry.path()).collect();
        let before = std::slice::from_ref(&in_the_way);
        assert_eq!(names, before, "what was there before");
        fs::remove_dir(&in_the_way).expect("removed");
        drop(
            EmbeddedStore::open(&folder, EmbeddedConfig::default()).expect("nothing is left of it"),
        );
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named_as_the_reason() {
        let parent = tempfile::tempdir().expect("a folder");
        let file = parent.path().join("file");
        fs::write(&file, "no folder").expect("written");
        for path in [file.clone(), file.join("data"), "/proc/newim".into()] {
            let error = refusal(&path);
            assert!(matches!(error, OpenError::Folder { .. }), "{error}");
        }
    }
}
