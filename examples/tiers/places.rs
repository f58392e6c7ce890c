//! Helpers of the example: an eviction, and a directory that is removed at the end.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// Deletes one key, like an eviction does.
pub(crate) fn evict(port: u16, key: &str) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "DEL {key}\r\n")?;
    BufReader::new(stream)
        .read_line(&mut String::new())
        .map(drop)
}

pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("tiers-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
