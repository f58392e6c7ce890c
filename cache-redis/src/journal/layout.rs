//! The files of a journal's shards.
//!
//! A namespace of one shard has one file, at the path that is set. With several shards, each has a
//! file: `path.0of8` to `path.7of8`.

use std::fs;
use std::path::{Path, PathBuf};

use cache_core::tier::Shard;
use cache_core::{Error, ErrorKind};

/// Returns the path of a shard's file.
pub(super) fn file_of(path: &Path, shard: Shard) -> PathBuf {
    if shard.is_only() {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}of{}", shard.index(), shard.count()));
    name.into()
}

/// Checks that no invalidations wait in the files of another number of shards: no process would
/// send them.
///
/// # Errors
/// There are some; the error names their file.
pub(crate) fn check_other_layouts(path: &Path, shards: u8) -> Result<(), Error> {
    let mut found = others(path, shards);
    found.sort();
    let Some((file, of)) = found.first() else {
        return Ok(());
    };
    let problem = format!(
        "`{}` has invalidations of a journal for a number of shards of {of}, and this instance is \
         set to {shards} (`Redis::shards`)",
        file.display(),
    );
    let help = format!(
        "start once with `shards({of})` and the same namespace, so that they are sent, or delete \
         the file"
    );
    Err(Error::new(ErrorKind::Configuration, problem).with_help(help))
}

/// The files that are not empty, with their numbers of shards. A directory that cannot be read has
/// none: the journal's own file reports why.
fn others(path: &Path, shards: u8) -> Vec<(PathBuf, u8)> {
    let has_content = |file: &Path| fs::metadata(file).is_ok_and(|file| file.len() > 0);
    let mut found = Vec::new();
    if shards != 1 && has_content(path) {
        found.push((path.to_owned(), 1));
    }
    let directory = match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    let (Some(name), Ok(entries)) = (path.file_name(), fs::read_dir(directory)) else {
        return found;
    };
    for entry in entries.flatten() {
        let other = entry.file_name();
        let suffix = other
            .as_encoded_bytes()
            .strip_prefix(name.as_encoded_bytes());
        let of = suffix.and_then(shards_of);
        if let Some(of) = of.filter(|of| *of != shards)
            && has_content(&entry.path())
        {
            found.push((path.with_file_name(&other), of));
        }
    }
    found
}

/// The number of shards in the end of a file's name: 8 in `.3of8`.
fn shards_of(suffix: &[u8]) -> Option<u8> {
    let suffix = std::str::from_utf8(suffix).ok()?.strip_prefix('.')?;
    let (index, of) = suffix.split_once("of")?;
    let (index, of): (u8, u8) = (index.parse().ok()?, of.parse().ok()?);
    (index < of).then_some(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_of_another_number_of_shards_is_named_if_it_has_invalidations() {
        let name = format!("mtc-journal-layout-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("journal");
        let shards = Shard::all(8).unwrap();
        assert_eq!(file_of(&path, Shard::ONLY), path);
        let third = file_of(&path, shards[2]);
        assert_eq!(third, directory.join("journal.2of8"));
        let check = |of| check_other_layouts(&path, of);
        // An empty file, a file of another journal, and one that is being replaced.
        for other in [
            "journal.0of4",
            "journal2",
            "journal.2of8.new",
            "journal.8of8",
        ] {
            fs::write(
                directory.join(other),
                if other.contains("4") { "" } else { "x" },
            )
            .unwrap();
        }
        for of in [1, 4, 8] {
            check(of).unwrap();
        }
        fs::write(&third, "x").unwrap();
        check(8).unwrap();
        for of in [1, 4] {
            let error = check(of).unwrap_err().to_string();
            assert!(
                error.contains("journal.2of8") && error.contains("shards(8)"),
                "{error}"
            );
        }
        fs::remove_file(&third).unwrap();
        fs::write(&path, "x").unwrap();
        check(1).unwrap();
        let error = check(8).unwrap_err().to_string();
        assert!(error.contains("shards of 1"), "{error}");
        fs::remove_dir_all(directory).unwrap();
    }
}
