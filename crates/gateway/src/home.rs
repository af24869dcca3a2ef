//! Where this installation lives: its configuration file and its data folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crosspoint_state::{PostgresRecords, SqliteStore, User};

use crate::cli::{Failure, system_rng};
use crate::config::{Config, ConfigError};

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

    /// The data folder alone, which a file that is wrong elsewhere says as well.
    pub(crate) fn data_folder(file: Option<&Path>, data: Option<&Path>) -> PathBuf {
        let file = file.unwrap_or(Path::new(USUAL_FILE));
        let named = || {
            let text = std::fs::read_to_string(file).ok()?;
            let (table, _) = toml::de::DeTable::parse_recoverable(&text);
            let general = table.get_ref().get("general")?.get_ref();
            let folder = file.parent().unwrap_or(Path::new(""));
            Some(folder.join(general.get("data")?.get_ref().as_str()?))
        };
        let named = data.map(Path::to_owned).or_else(named);
        named.unwrap_or_else(|| PathBuf::from(USUAL_DATA))
    }

    /// Refuses a configuration that names users who are not there.
    pub(crate) fn check_users(&self, users: &[User]) -> Result<(), Failure> {
        let is_known = |name: &str| {
            let mut names = users.iter().flat_map(|u| std::iter::once(&u.name).chain(&u.aliases));
            names.any(|known| known.as_str() == name)
        };
        let problems = self.config.routing.unknown_users(is_known);
        if problems.is_empty() {
            return Ok(());
        }
        let file = self.file.as_deref().unwrap_or(Path::new(USUAL_FILE)).display().to_string();
        Err(ConfigError { file, problems }.into())
    }

    /// Whether there is a store already.
    pub(crate) fn has_store(&self) -> bool {
        self.data.join(STORE_FILE).exists()
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

    /// Call records in PostgreSQL, where they go there.
    pub(crate) fn records(&self) -> Result<Option<Arc<PostgresRecords>>, Failure> {
        let Some(config) = &self.config.cdr else { return Ok(None) };
        let mut fresh = [0; 8];
        system_rng()?.fill(&mut fresh);
        let fresh = i64::from_le_bytes(fresh) & i64::MAX;
        Ok(Some(PostgresRecords::new(config.clone(), self.store()?, fresh)?))
    }

    pub(crate) fn certificate_files(&self) -> (PathBuf, PathBuf) {
        (self.data.join("certificate.pem"), self.data.join("key.pem"))
    }
}

/// In the data folder: where a running process is spoken to by the command line.
pub(crate) const CONTROL_SOCKET: &str = "control.sock";
pub(crate) const USUAL_FILE: &str = "crosspoint.toml";
const USUAL_DATA: &str = "crosspoint-data";
const STORE_FILE: &str = "store.db";
