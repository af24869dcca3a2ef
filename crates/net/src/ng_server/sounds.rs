//! Prompts that proxies have played: WAV files out of one folder, or sent along.
//!
//! Not here: who hears them.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crosspoint_media::clip::Clip;
use crosspoint_ng::SoundSource;
use tokio::sync::mpsc;

use super::Told;

/// Reads a prompt on a thread for such work.
pub(super) fn load(
    ticket: u64,
    source: SoundSource,
    folder: Option<Arc<Path>>,
    told: mpsc::Sender<Told>,
) {
    tokio::task::spawn_blocking(move || {
        let clip = match source {
            SoundSource::File(name) => folder.and_then(|folder| read(&folder, &name)),
            SoundSource::Blob(bytes) => Clip::read_wav(Cursor::new(bytes))
                .inspect_err(|error| tracing::warn!(%error, "a sent prompt cannot be played"))
                .ok(),
        };
        // It fails only when the server is gone.
        let _ = told.blocking_send(Told::Sound(ticket, clip.map(Arc::new)));
    });
}

/// A file of the folder, whether it is named within it or from the root on.
fn read(folder: &Path, name: &str) -> Option<Clip> {
    let path = inside(folder, name)?;
    let file = File::open(&path).ok()?;
    if !file.metadata().is_ok_and(|data| data.is_file() && data.len() <= MAX_FILE) {
        return None;
    }
    let clip = Clip::read_wav(BufReader::new(file));
    clip.inspect_err(|error| tracing::warn!(%error, file = name, "a prompt cannot be played")).ok()
}

/// Where a name leads, links followed, if that is in the folder.
fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let path = folder.join(name).canonicalize().ok()?;
    path.starts_with(&folder).then_some(path)
}

/// Ten minutes in the largest format that is read.
const MAX_FILE: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_folder_are_read() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("prompts");
        std::fs::create_dir_all(folder.join("de")).unwrap();
        std::fs::write(root.path().join("secret.wav"), "x").unwrap();
        std::fs::write(folder.join("de/busy.wav"), "x").unwrap();
        std::os::unix::fs::symlink("../secret.wav", folder.join("link.wav")).unwrap();
        let busy = folder.join("de/busy.wav");
        let whole = busy.to_str().unwrap();
        for name in ["de/busy.wav", "./de/../de/busy.wav", whole] {
            let found = inside(&folder, name).map(|path| path.ends_with("prompts/de/busy.wav"));
            assert_eq!(found, Some(true), "{name}");
        }
        for name in ["../secret.wav", "link.wav", "/etc/passwd", "", "none.wav", "de/\0"] {
            let found = inside(&folder, name).filter(|path| path.is_file());
            assert_eq!(found, None, "{name}");
        }
        assert!(read(&folder, "de/busy.wav").is_none(), "it is no WAV file");
    }
}
