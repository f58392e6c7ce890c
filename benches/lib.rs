//! The server and the value of the benches that use Redis. The benches are in files of their own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A value of about 200 bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The id that it belongs to.
    pub id: u64,
    name: String,
    numbers: Vec<u64>,
}

impl Row {
    /// Makes the value of an id.
    #[must_use]
    pub fn new(id: u64) -> Self {
        Self {
            id,
            name: format!("customer {id}"),
            numbers: vec![u64::MAX / 3; 16],
        }
    }
}

/// A server on a Unix socket, which ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    directory: PathBuf,
}

impl Server {
    /// Starts the program `redis-server`, or the one that the variable `REDIS_SERVER` names.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("mtc-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".into());
        let child = Command::new(program)
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(directory.join("socket"))
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts; help: install it");
        while !directory.join("socket").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, directory }
    }

    /// Returns the URL of the socket.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.directory.join("socket").display())
    }

    /// Returns the id of the process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
