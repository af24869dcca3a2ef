//! Where this installation lives: its configuration file and its data folder.

use std::path::{Path, PathBuf};

use crosspoint_state::SqliteStore;

use crate::cli::Failure;
use crate::config::Config;

/// A configuration with the folder that goes with it.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) config: Config,
    /// The file that was read, if there is one.
    pub(crate) file: Option<PathBuf>,
    pub(crate) data: PathBuf,
}

impl Home {
    /// Reads `file`, or `crosspoint.toml` in the working folder if there is one, or nothing. The
    /// data folder is `data`, or what the file says, or `crosspoint-data` in the working folder.
    pub(crate) fn find(file: Option<&Path>, data: Option<&Path>) -> Result<Self, Failure> {
        let file = match file {
            Some(file) => Some(file.to_owned()),
            None => Some(PathBuf::from(USUAL_FILE)).filter(|f| f.exists()),
        };
        let config = match &file {
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    Failure::Usage(format!("{} cannot be read: {error}", file.display()))
                })?;
                Config::parse(&text, file)?
            }
            None => Config::with_defaults(),
        };
        let data = data
            .map(Path::to_owned)
            .or_else(|| config.general.data.clone())
            .unwrap_or_else(|| PathBuf::from(USUAL_DATA));
        Ok(Self { config, file, data })
    }

    /// Creates the data folder for our eyes only, if it is not there.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.data).map_err(|error| {
            Failure::failed(format!("the data folder {}", self.data.display()), error)
        })
    }

    /// Opens the store, creating it if need be.
    pub(crate) fn store(&self) -> Result<SqliteStore, Failure> {
        self.prepare()?;
        Ok(SqliteStore::open(&self.data.join(STORE_FILE))?)
    }

    pub(crate) fn certificate_files(&self) -> (PathBuf, PathBuf) {
        (self.data.join("certificate.pem"), self.data.join("key.pem"))
    }
}

pub(crate) const USUAL_FILE: &str = "crosspoint.toml";
const USUAL_DATA: &str = "crosspoint-data";
const STORE_FILE: &str = "store.db";
