//! A memcached server of the test's own, on a free port of the loopback address, gone when the test is.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::server::free_port;
use crate::watch;

/// A running server.
#[derive(Debug)]
pub struct Memcached {
    port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Memcached {
    /// Starts a server.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        // Another process may take the port between our look and the server's.
        for _ in 0..5 {
            let mut server = Self {
                port: free_port(),
                arguments: arguments.iter().map(|&argument| argument.into()).collect(),
                child: None,
            };
            if server.spawn() {
                return server;
            }
        }
        panic!("memcached does not start");
    }

    /// The address for a client.
    pub fn url(&self) -> String {
        format!("memcached://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn spawn(&mut self) -> bool {
        let mut command = Command::new("memcached");
        command.args([
            "-l",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-m",
            "32",
            "-t",
            "2",
            "-U",
            "0",
        ]);
        // As root it asks whose process it is to be.
        command.args(["-u", "nobody"]).args(&self.arguments);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("memcached cannot be run ({error}); install memcached"));
        watch::begin(child.id());
        self.child = Some(child);
        for _ in 0..1_000 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            let child = self.child.as_mut();
            if child.is_none_or(|child| !matches!(child.try_wait(), Ok(None))) {
                self.kill();
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Ends it at once, with all that it has.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            watch::end(child.id());
        }
    }

    /// Ends it, and starts it again on the same port, with nothing in it.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.spawn(), "memcached does not start again");
    }

    /// Stops it where it is; its sockets stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("a running server").id();
        let status = Command::new("kill")
            .args([signal, &id.to_string()])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    /// Sends one line, and returns what is answered until nothing more comes.
    pub fn ask(&self, line: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream
            .write_all(format!("{line}\r\nmn\r\n").as_bytes())
            .expect("a line");
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout");
        let mut answer = Vec::new();
        while !answer.ends_with(b"MN\r\n") {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).expect("an answer");
            assert!(read > 0, "it hung up");
            answer.extend(&part[..read]);
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.trim_end_matches("MN\r\n").to_owned()
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.kill();
    }
}
