//! A Prometheus server of the test.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use testbed::directory::Directory;

use super::http;

/// Returns the path of a program of the package `prometheus`.
///
/// # Panics
/// If it is not installed.
pub(super) fn binary(name: &str) -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/prometheus/usr/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([unpacked]);
    let mut programs = directories.map(|directory| directory.join(name));
    let found = programs.find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed; run: scripts/servers.sh"))
}

/// A Prometheus server, which is ended when this is dropped.
pub(super) struct Prometheus {
    process: Child,
    address: SocketAddr,
    _directory: Directory,
}

impl Prometheus {
    /// Starts a server that scrapes the pages `/0`, `/1` and so on of `address` once a second.
    pub(super) fn scraping(address: SocketAddr, pages: usize) -> Self {
        let directory = Directory::new("prometheus");
        let config = directory.path().join("prometheus.yml");
        let targets: String = (0..pages)
            .map(|page| {
                format!(
                    "      - targets: ['{address}']\n        labels: {{__metrics_path__: /{page}, \
                     instance: 'page-{page}'}}\n"
                )
            })
            .collect();
        let text = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: program\n    \
             static_configs:\n{targets}"
        );
        fs::write(&config, text).unwrap();
        // Another process may take the port in between. Then the server ends, and the test fails.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = free.local_addr().unwrap();
        drop(free);
        let log = File::create(directory.path().join("log")).unwrap();
        let process = Command::new(binary("prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={own}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            process,
            address: own,
            _directory: directory,
        }
    }

    /// Runs a query as of now.
    pub(super) async fn query(&self, query: &str) -> Value {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.get(&format!("/api/v1/query?query={encoded}")).await
    }

    /// Returns the answer to a request of its interface. `Null` if there is none yet.
    pub(super) async fn get(&self, path: &str) -> Value {
        let answer = http::get(self.address, path).await;
        answer.map_or(Value::Null, |body| {
            serde_json::from_str(&body).unwrap_or(Value::Null)
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
