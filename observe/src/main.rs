//! Writes the generated files, or says which of them differ.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["write"] => write(),
        ["check"] => check(),
        _ => {
            eprintln!("usage: observe write|check");
            ExitCode::from(2)
        }
    }
}

fn write() -> ExitCode {
    for file in observe::generated() {
        if let Err(error) = std::fs::write(&file.path, &file.text) {
            eprintln!("{}: {error}", file.path.display());
            return ExitCode::FAILURE;
        }
        println!("{} written", file.path.display());
    }
    ExitCode::SUCCESS
}

fn check() -> ExitCode {
    let generated = observe::generated().into_iter();
    let differ = generated.filter(|file| {
        let found = std::fs::read_to_string(&file.path);
        found.map_or(true, |found| found != file.text)
    });
    let mut result = ExitCode::SUCCESS;
    for file in differ {
        eprintln!(
            "{} differs; run: cargo run -p observe -- write",
            file.path.display()
        );
        result = ExitCode::FAILURE;
    }
    result
}
