//! A Redis server for one test, on a free port of the loopback address.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::{until, watch};

/// A running server, which ends when this value is dropped.
#[derive(Debug)]
pub struct Server {
    directory: PathBuf,
    port: u16,
    binary: String,
    arguments: Vec<String>,
    child: Option<Child>,
    is_for_a_test: bool,
    role: Role,
    /// Relaxed: it only says which of two signals was sent last.
    is_frozen: AtomicBool,
}

/// Kind of a server process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A server with data.
    Data,
    /// A sentinel, which has a configuration file that it rewrites.
    Sentinel,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Creates a directory. Sentinels and nodes of a cluster sync their configuration to the disk
/// before they vote, so a disk that others keep busy stops them for seconds: `in_memory` puts the
/// directory into memory, if the machine has a file system there.
fn create_directory(name: &str, in_memory: bool) -> PathBuf {
    let memory = in_memory.then(|| PathBuf::from("/dev/shm").join(name));
    let created = memory.filter(|directory| fs::create_dir(directory).is_ok());
    created.unwrap_or_else(|| {
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("a directory for the server");
        directory
    })
}

impl Server {
    /// Starts a server without persistence.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more arguments. The program is [`program`].
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::start_as(&program(), arguments, true)
    }

    /// Starts a server by the program at `binary`. It may run longer than the server of a test.
    pub fn start_binary(binary: &str, arguments: &[&str]) -> Self {
        Self::start_as(binary, arguments, false)
    }

    fn start_as(binary: &str, arguments: &[&str], is_for_a_test: bool) -> Self {
        let mut server = Self::prepare(binary, Role::Data, 0, is_for_a_test);
        server.set_arguments(arguments);
        // Another process may take the port before the server binds it.
        for _ in 0..5 {
            server.port = free_port();
            if server.spawn() {
                return server;
            }
        }
        panic!("{binary} does not start:\n{}", server.log());
    }

    /// Creates the directory of a server on this port, which does not run yet.
    pub(crate) fn prepare(binary: &str, role: Role, port: u16, is_for_a_test: bool) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mtc-{}-{number}", std::process::id());
        let in_memory = is_for_a_test || matches!(role, Role::Sentinel);
        let directory = create_directory(&name, in_memory);
        Self {
            directory,
            port,
            binary: binary.to_owned(),
            arguments: Vec::new(),
            child: None,
            is_for_a_test,
            role,
            is_frozen: AtomicBool::new(false),
        }
    }

    /// Sets the further arguments of the next start.
    pub(crate) fn set_arguments(&mut self, arguments: &[&str]) {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        self.arguments = arguments.collect();
    }

    /// Address for a client.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Address of the Unix socket.
    pub fn socket_url(&self) -> String {
        format!("redis+unix://{}", self.directory.join("socket").display())
    }

    /// Directory of the server's files.
    pub fn directory(&self) -> &PathBuf {
        &self.directory
    }

    /// Port of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn spawn(&mut self) -> bool {
        self.launch();
        self.is_ready()
    }

    /// Starts the process, which accepts connections [later](Self::is_ready).
    pub(crate) fn launch(&mut self) {
        let log = fs::File::create(self.directory.join("log")).expect("a log file");
        let (binary, directory) = (&self.binary, self.directory.display().to_string());
        let mut command = Command::new(binary);
        match self.role {
            Role::Data => command
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(["--loglevel", "notice", "--port", &self.port.to_string()])
                .args(["--dir", &directory])
                .args(["--unixsocket", &format!("{directory}/socket")])
                .args(&self.arguments),
            Role::Sentinel => command.args(&self.arguments),
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{binary} cannot be run ({error}); install redis-server")
            });
        self.child = Some(child);
        self.is_frozen.store(false, Ordering::Relaxed);
        self.watch();
    }

    /// Lets the watch measure the time of this server from now on, for the calling test.
    pub(crate) fn watch(&self) {
        if let Some(child) = self.child.as_ref().filter(|_| self.is_for_a_test) {
            watch::begin(child.id());
        }
    }

    /// Waits for at most five seconds until the log says that the server accepts connections.
    pub(crate) fn is_ready(&mut self) -> bool {
        let line = match self.role {
            Role::Data => "Ready to accept connections",
            Role::Sentinel => "+monitor master",
        };
        for _ in 0..1_000 {
            if self.log().contains(line) {
                return true;
            }
            let exited = self
                .child
                .as_mut()
                .is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if exited {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Returns `true` if the process runs and is not suspended.
    pub fn is_up(&self) -> bool {
        self.child.is_some() && !self.is_frozen.load(Ordering::Relaxed)
    }

    /// Log of the server since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Ends the server at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            watch::end(child.id());
        }
    }

    /// Starts the server again on the same port, with the data that it saved.
    pub fn restart(&mut self) {
        let arguments = std::mem::take(&mut self.arguments);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        self.restart_with(&arguments);
    }

    /// Starts the server again on the same port, with other arguments.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.kill();
        self.set_arguments(arguments);
        assert!(
            self.spawn(),
            "redis-server does not start again:\n{}",
            self.log()
        );
    }

    /// Suspends the server: its sockets stay open, and it sends no reply.
    pub fn freeze(&self) {
        self.is_frozen.store(true, Ordering::Relaxed);
        self.signal("-STOP");
    }

    /// Resumes the server.
    pub fn thaw(&self) {
        self.signal("-CONT");
        self.is_frozen.store(false, Ordering::Relaxed);
    }

    fn signal(&self, signal: &str) {
        let id = self
            .child
            .as_ref()
            .expect("a running server")
            .id()
            .to_string();
        let status = Command::new("kill")
            .args([signal, &id])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    /// Runs one command on a new connection.
    pub fn command<T: redis::FromRedisValue>(&self, arguments: &[&str]) -> T {
        self.command_bytes(
            &arguments
                .iter()
                .map(|argument| argument.as_bytes())
                .collect::<Vec<_>>(),
        )
    }

    /// Runs one command on a new connection, with arguments that need not be text.
    pub fn command_bytes<T: redis::FromRedisValue>(&self, arguments: &[&[u8]]) -> T {
        let client = redis::Client::open(self.url()).expect("a client");
        let mut connection = client.get_connection().expect("a connection");
        let mut command = redis::Cmd::new();
        for argument in arguments {
            command.arg(argument);
        }
        command.query(&mut connection).expect("an answer")
    }

    /// Returns all keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.command(&["KEYS", "*"]);
        keys.sort();
        keys
    }

    /// Returns the keys of records, sorted.
    pub fn records(&self) -> Vec<String> {
        self.keys()
            .into_iter()
            .filter(|key| !key.contains('#'))
            .collect()
    }

    /// Returns `true` if the server has the lease of some key.
    pub fn has_lease(&self) -> bool {
        self.keys().iter().any(|key| key.ends_with("#lease"))
    }

    /// Returns `true` if the server has the write guard of some key.
    pub fn has_guard(&self) -> bool {
        self.keys().iter().any(|key| key.ends_with("#guards"))
    }

    /// Waits until the server has this many records. A call does not wait for its fill, so a test
    /// does.
    pub async fn until_records(&self, number: usize) {
        let what = format!("the server has {number} records");
        until(&what, || self.records().len() == number).await;
    }

    /// Waits until the server has no write guard any more.
    pub async fn until_no_guard(&self) {
        until("no write guard is left", || !self.has_guard()).await;
    }

    /// Number of connections to the server, the one that asks included.
    pub fn connections(&self) -> usize {
        let list: String = self.command(&["CLIENT", "LIST"]);
        list.lines().count()
    }

    /// Number of bytes that the server has sent to all of its clients.
    pub fn sent_bytes(&self) -> u64 {
        self.stat("total_net_output_bytes")
    }

    /// Returns a number from the section `stats` of `INFO`.
    pub fn stat(&self, name: &str) -> u64 {
        let stats: String = self.command(&["INFO", "stats"]);
        let prefix = format!("{name}:");
        let value = stats.lines().find_map(|line| line.strip_prefix(&prefix));
        value.map_or(0, |value| value.trim().parse().expect("a number"))
    }

    /// Returns how often clients and scripts have called `command` since the last reset.
    pub fn calls(&self, command: &str) -> u64 {
        let stats: String = self.command(&["INFO", "commandstats"]);
        let prefix = format!("cmdstat_{command}:calls=");
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(&prefix)?.split(',').next());
        line.map_or(0, |calls| calls.parse().expect("a number"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The program of the servers of tests: `redis-server`, or the one that the variable `REDIS_SERVER`
/// names.
pub fn program() -> String {
    std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".into())
}

pub(crate) fn free_port() -> u16 {
    free_ports(1)[0]
}

/// Returns ports that are free at this moment, and of which no two are the same.
pub(crate) fn free_ports(number: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").expect("a port");
    let listeners: Vec<_> = (0..number).map(bind).collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    listeners.iter().map(port).collect()
}
