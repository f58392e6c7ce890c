//! A terminal: tmux, in which the program runs.

use std::process::Stdio;

use testbed::directory::Directory;
use testbed::until_ok;
use tokio::process::{Child, Command};

use crate::program::without_variables;

/// A terminal of 80 columns and 24 lines, which ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Screen {
    directory: Directory,
    server: Child,
}

impl Screen {
    /// Opens a terminal, and runs the program there with these arguments. When the program has
    /// ended, the terminal shows its exit code and stays open.
    pub(crate) async fn open(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let directory = Directory::new("screen");
        let socket = directory.path().join("tmux");
        let mut command = without_variables("tmux");
        // The server is a child of this process, so that it ends with it.
        command.args(["-D", "-u", "-f", "/dev/null", "-S"]);
        command.arg(&socket).envs(variables.iter().copied());
        command.stdin(Stdio::null()).kill_on_drop(true);
        let server = command
            .spawn()
            .unwrap_or_else(|error| panic!("tmux: {error}; run scripts/servers.sh"));
        let screen = Self { directory, server };
        until_ok("tmux listens", async || {
            if socket.exists() {
                Ok(())
            } else {
                Err("no socket")
            }
        })
        .await;
        let path = |name: &str| screen.directory.path().join(name).display().to_string();
        // `sleep` keeps the terminal, and ends.
        let script = format!(
            "echo before; stty -g > {}; sh -c 'echo $$ > {}; exec \"$0\" \"$@\"' {} {}; \
             echo ended with $?; stty -g > {}; exec sleep 60",
            path("before"),
            path("number"),
            env!("CARGO_BIN_EXE_multi-tier-cached"),
            arguments.join(" "),
            path("after"),
        );
        let size = ["new-session", "-d", "-x", "80", "-y", "24"];
        screen
            .tmux(&[&size[..], &["sh", "-c", &script]].concat())
            .await;
        screen
    }

    /// Runs a command of tmux, and returns what it prints.
    async fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command
            .arg("-u")
            .arg("-S")
            .arg(self.directory.path().join("tmux"));
        let output = command.args(arguments).stdin(Stdio::null()).output().await;
        let output = output.unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The text on the terminal: a line for each of its lines, without spaces at the ends.
    pub(crate) async fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).await
    }

    /// Waits until the terminal shows all of these texts, and returns what it shows.
    pub(crate) async fn until(&self, texts: &[&str]) -> String {
        until_ok("the screen shows what it should", async || {
            let screen = self.text().await;
            match texts.iter().find(|text| !screen.contains(**text)) {
                None => Ok(screen),
                Some(missing) => Err(format!("`{missing}` is not in\n{screen}")),
            }
        })
        .await
    }

    /// Presses keys, by the names that tmux has for them.
    pub(crate) async fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat()).await;
    }

    pub(crate) async fn resize(&self, columns: u16, lines: u16) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &lines])
            .await;
    }

    /// Sends a signal to the program.
    pub(crate) async fn signal(&self, signal: &str) {
        let number = self.file("number");
        let status = Command::new("kill")
            .args(["-s", signal, number.trim()])
            .status()
            .await;
        assert!(status.unwrap().success());
    }

    /// Returns whether the program has a screen of its own, and whether the cursor is visible.
    pub(crate) async fn is_taken(&self) -> (bool, bool) {
        let flags = "#{alternate_on} #{cursor_flag}";
        let flags = self.tmux(&["display-message", "-p", flags]).await;
        let is_set = |at: usize| flags.split_whitespace().nth(at) == Some("1");
        (is_set(0), is_set(1))
    }

    /// The settings of the terminal before the program began, and after it ended.
    pub(crate) fn settings(&self) -> (String, String) {
        (self.file("before"), self.file("after"))
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// Ends the terminal.
    pub(crate) async fn close(mut self) {
        self.tmux(&["kill-server"]).await;
        self.server.wait().await.unwrap();
    }
}
