//! A memcached server of a test's own, on a free port of the loopback address. It ends with the
//! test.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
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
        // Another process may take the port before the server binds it.
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

    /// Returns the URL of the server.
    pub fn url(&self) -> String {
        format!("memcached://127.0.0.1:{}", self.port)
    }

    /// Returns the port of the server.
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
        // memcached refuses to run as root.
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
            if self.answers().unwrap_or(false) {
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

    /// Returns `true` if this server answers on the port. Another process may have bound the port
    /// first, and a connection to a free port may be one to itself.
    fn answers(&self) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        if stream.local_addr()? == stream.peer_addr()? {
            return Ok(false);
        }
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"stats\r\nquit\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let id = self.child.as_ref().map(Child::id).unwrap_or_default();
        Ok(reply.contains(&format!("STAT pid {id}\r\n")))
    }

    /// Kills the server. Its data is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            watch::end(child.id());
        }
    }

    /// Kills the server and starts an empty one on the same port.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.spawn(), "memcached does not start again");
    }

    /// Stops the process without ending it: its sockets stay open, and no command gets a reply.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Continues the process after a [`freeze`](Self::freeze).
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

    /// Returns the number of items.
    pub fn items(&self) -> u64 {
        let stats = self.ask("stats");
        let count = stats
            .lines()
            .find_map(|line| line.strip_prefix("STAT curr_items "));
        let count = count.expect("the number of items").trim();
        count.parse().expect("a number")
    }

    /// Returns `true` if there is an item with this name.
    pub fn has_item(&self, name: &str) -> bool {
        self.ask(&format!("mg {name} s")).starts_with("HD")
    }

    /// Returns `true` if there is an item with one of these flags. Visits every item.
    pub fn has_item_with(&self, flags: &[u32]) -> bool {
        // The server replies `BUSY` while it still ends the visit before.
        let items = loop {
            let items = self.exchange("lru_crawler metadump all\r\n", &["END\r\n", "BUSY"]);
            if !items.starts_with("BUSY") {
                break items;
            }
        };
        let names = items
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("key="));
        let mut found = names.filter_map(|name| self.flags(&percent_decoded(name)));
        found.any(|found| flags.contains(&found))
    }

    /// Returns the flags of the item with this name.
    pub fn flags(&self, name: &str) -> Option<u32> {
        self.meta_value(name, "f")
    }

    /// Returns the number of seconds until the item with this name expires; -1 if it never does.
    pub fn seconds_left(&self, name: &str) -> Option<i64> {
        self.meta_value(name, "t")
    }

    fn meta_value<T: FromStr>(&self, name: &str, flag: &str) -> Option<T> {
        let reply = self.ask(&format!("mg {name} {flag}"));
        let value = reply.strip_prefix("HD ")?.trim().strip_prefix(flag)?;
        value.parse().ok()
    }

    /// Writes an item as another application does.
    pub fn set(&self, name: &str, text: &str) {
        let reply = self.ask(&format!("ms {name} {}\r\n{text}", text.len()));
        assert!(reply.starts_with("HD"), "{reply}");
    }

    /// Sends one line, and returns the reply.
    pub fn ask(&self, line: &str) -> String {
        // The reply to `mn` comes after everything that the line is replied with.
        let reply = self.exchange(&format!("{line}\r\nmn\r\n"), &["MN\r\n"]);
        reply.trim_end_matches("MN\r\n").to_owned()
    }

    /// Sends the text, and returns what the server replies until the reply has one of the ends.
    fn exchange(&self, text: &str, ends: &[&str]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.write_all(text.as_bytes()).expect("the text is sent");
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout");
        let mut reply = String::new();
        while !ends
            .iter()
            .any(|end| reply.ends_with(end) || reply.starts_with(end))
        {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).expect("a reply");
            assert!(read > 0, "the server closed the connection");
            reply.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        reply
    }
}

/// Returns the name with its `%23` and the like as the characters that they stand for.
fn percent_decoded(name: &str) -> String {
    let mut parts = name.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = u8::from_str_radix(&part[..2], 16).expect("two digits");
        decoded.push(char::from(code));
        decoded.push_str(&part[2..]);
    }
    decoded
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.kill();
    }
}
