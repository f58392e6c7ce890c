//! Modules of a crate, and the files in which names are defined.

use std::collections::{HashMap, HashSet};

use proc_macro2::{TokenStream, TokenTree};

use crate::sources::Source;

/// A module: a file, or a block `mod name { … }` in one.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// Index of its file.
    pub(crate) file: usize,
    children: HashSet<String>,
    /// Names that it defines.
    pub(crate) items: HashSet<String>,
    /// Names that it imports, with their paths as they are written.
    imports: HashMap<String, Vec<String>>,
    /// Paths of which it imports all names.
    globs: Vec<Vec<String>>,
}

/// Modules of a crate by path (`a::b`; the root is the empty path). Tests are left out.
pub(crate) struct Modules {
    pub(crate) by_path: HashMap<String, Module>,
    /// Index, module path and content of each file.
    pub(crate) files: Vec<(usize, String, syn::File)>,
}

/// Meaning of a path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    Module(String),
    /// An item that this module defines.
    Item(String),
}

/// A path that a `use` names, and the name it has afterwards.
pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    /// `None` for a glob.
    pub(crate) name: Option<String>,
}

impl Module {
    fn import(&mut self, item: &syn::ItemUse) {
        for import in imports(&item.tree) {
            match import.name {
                Some(name) => drop(self.imports.insert(name, import.path)),
                None => self.globs.push(import.path),
            }
        }
    }
}

impl Modules {
    /// Follows the `mod` declarations from the root, which is `lib.rs` or `main.rs` in `directory`.
    pub(crate) fn new(sources: &[Source], directory: &str, root: &str) -> Self {
        let mut modules = Self {
            by_path: HashMap::new(),
            files: Vec::new(),
        };
        let root = format!("{directory}/{root}");
        let root = sources.iter().position(|source| source.path == root);
        modules.add_file(sources, root.expect("the root of the crate"), "", directory);
        modules
    }

    fn add_file(&mut self, sources: &[Source], file: usize, path: &str, directory: &str) {
        let source = &sources[file];
        let content = syn::parse_file(&source.text)
            .unwrap_or_else(|error| panic!("{}: {error}", source.path));
        self.add_items(sources, file, path, directory, &content.items);
        self.files.push((file, path.to_owned(), content));
    }

    fn add_items(
        &mut self,
        sources: &[Source],
        file: usize,
        path: &str,
        at: &str,
        items: &[syn::Item],
    ) {
        let mut module = Module {
            file,
            ..Module::default()
        };
        for item in items {
            match item {
                syn::Item::Use(item) if !is_test(&item.attrs) => module.import(item),
                syn::Item::Mod(child) if !is_test(&child.attrs) => {
                    self.add_child(sources, file, path, at, child);
                    module.children.insert(child.ident.to_string());
                }
                _ => module.items.extend(name_of(item)),
            }
        }
        self.by_path.insert(path.to_owned(), module);
    }

    fn add_child(
        &mut self,
        sources: &[Source],
        file: usize,
        path: &str,
        at: &str,
        child: &syn::ItemMod,
    ) {
        let name = child.ident.to_string();
        let (path, at) = (join(path, &name), format!("{at}/{name}"));
        let is_file = |source: &Source| {
            source.path == format!("{at}.rs") || source.path == format!("{at}/mod.rs")
        };
        if let Some((_, items)) = &child.content {
            self.add_items(sources, file, &path, &at, items);
        } else if let Some(file) = sources.iter().position(is_file) {
            self.add_file(sources, file, &path, &at);
        }
    }

    /// Returns what a path means in module `from`. `None` is another crate or a local name.
    ///
    /// If a module only imports a name, the result is the module that defines the name. So a parent
    /// that re-exports the items of its children is skipped.
    pub(crate) fn resolve(&self, from: &str, path: &[String]) -> Option<Target> {
        self.resolve_within(from, path, 16)
    }

    // Two modules may import all of each other, so the depth is limited.
    fn resolve_within(&self, from: &str, path: &[String], depth: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let depth = depth.checked_sub(1)?;
        match first.as_str() {
            "crate" => self.member("", rest, depth),
            "self" => self.member(from, rest, depth),
            "super" => self.member(parent(from), rest, depth),
            name => {
                let module = self.by_path.get(from)?;
                let is_known = module.children.contains(name) || module.imports.contains_key(name);
                is_known.then(|| self.member(from, path, depth)).flatten()
            }
        }
    }

    fn member(&self, of: &str, path: &[String], depth: usize) -> Option<Target> {
        let Some((name, rest)) = path.split_first() else {
            return Some(Target::Module(of.to_owned()));
        };
        let module = self.by_path.get(of)?;
        if name == "super" {
            return self.member(parent(of), rest, depth);
        }
        if name == "self" {
            return self.member(of, rest, depth);
        }
        if module.children.contains(name) {
            return self.member(&join(of, name), rest, depth);
        }
        if let Some(import) = module.imports.get(name) {
            return match self.resolve_within(of, import, depth)? {
                Target::Module(module) => self.member(&module, rest, depth),
                item @ Target::Item(_) => Some(item),
            };
        }
        let through_glob =
            module
                .globs
                .iter()
                .find_map(|glob| match self.resolve_within(of, glob, depth)? {
                    Target::Module(other) if self.by_path.get(&other)?.items.contains(name) => {
                        Some(Target::Item(other))
                    }
                    _ => None,
                });
        Some(through_glob.unwrap_or_else(|| Target::Item(of.to_owned())))
    }
}

/// Returns `true` if an item exists only in tests.
pub(crate) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => requires_test(list.tokens.clone()),
        _ => attribute.path().is_ident("test"),
    })
}

/// Returns `true` if a condition of `cfg` names tests, outside of any `not(…)`.
fn requires_test(condition: TokenStream) -> bool {
    let mut is_negated = false;
    condition.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => {
            is_negated = ident == "not";
            ident == "test" || ident == "schedules"
        }
        TokenTree::Group(group) => !is_negated && requires_test(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// Returns the leaves of a `use`.
pub(crate) fn imports(tree: &syn::UseTree) -> Vec<Import> {
    let mut found = Vec::new();
    flatten(tree, &mut Vec::new(), &mut found);
    found
}

fn flatten(tree: &syn::UseTree, path: &mut Vec<String>, found: &mut Vec<Import>) {
    let mut leaf = |path: &[String], ident: &syn::Ident, name: &syn::Ident| {
        let mut path = path.to_vec();
        if ident != "self" || path.is_empty() {
            path.push(ident.to_string());
        }
        let name = if name == "self" {
            path.last().cloned()
        } else {
            Some(name.to_string())
        };
        let line = ident.span().start().line;
        found.push(Import { path, line, name });
    };
    match tree {
        syn::UseTree::Path(tree) => {
            path.push(tree.ident.to_string());
            flatten(&tree.tree, path, found);
            path.pop();
        }
        syn::UseTree::Name(tree) => leaf(path, &tree.ident, &tree.ident),
        syn::UseTree::Rename(tree) => leaf(path, &tree.ident, &tree.rename),
        syn::UseTree::Glob(tree) => found.push(Import {
            path: path.clone(),
            line: tree.star_token.spans[0].start().line,
            name: None,
        }),
        syn::UseTree::Group(group) => group
            .items
            .iter()
            .for_each(|tree| flatten(tree, path, found)),
    }
}

fn name_of(item: &syn::Item) -> Option<String> {
    let name = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}::{name}")
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once("::").map_or("", |(parent, _)| parent)
}
