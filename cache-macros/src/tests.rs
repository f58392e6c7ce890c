//! Golden expansions: the output of the attribute for the main forms, as files that a person reads.
//!
//! `UPDATE_GOLDEN=1` writes them again.

use std::path::Path;

use proc_macro2::TokenStream;
use quote::quote;

fn pretty(tokens: TokenStream) -> String {
    prettyplease::unparse(&syn::parse2(tokens).expect("an expansion that parses"))
}

#[track_caller]
fn check(name: &str, args: TokenStream, item: TokenStream) {
    check_text(name, &pretty(super::cached(args, item)));
}

/// Checks an expansion inside of an `impl`.
#[track_caller]
fn check_method(name: &str, owner: TokenStream, args: TokenStream, item: TokenStream) {
    let expanded = super::cached(args, item);
    check_text(name, &pretty(quote!(#owner { #expanded })));
}

#[track_caller]
fn check_text(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/expand")
        .join(name)
        .with_extension("rs");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("a golden file to write");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "the expansion differs from {}:\n{text}",
        path.display()
    );
}

#[test]
fn free_function_expands_as_recorded() {
    check(
        "free_function",
        quote!(ttl = "5m", tiers = "l1,l2"),
        quote! {
            /// Looks a user up.
            pub async fn get_user(id: u64) -> Result<User, DbError> {
                db().fetch_user(id).await
            }
        },
    );
}

#[test]
fn every_option_expands_as_recorded() {
    check(
        "every_option",
        quote!(
            ttl(l1 = "30s", l2 = "1h"),
            tiers = "l1,l2",
            name = "users::find",
            version = 3,
            key = "user:{id}:{filter.kind}",
            skip(pool),
            cache_if = |user: &User| user.active,
            share_error = errors::again,
            codec = "json",
            crate = "crate::facade"
        ),
        quote! {
            async fn find<P: Database>(
                id: u64,
                filter: Filter,
                pool: &P,
            ) -> Result<User, io::Error> {
                pool.find(id, filter).await
            }
        },
    );
}

#[test]
fn generic_function_expands_as_recorded() {
    check(
        "generic_function",
        quote!(ttl = "5m"),
        quote! {
            async fn find<'a, T, const N: usize>(
                (a, b): (u64, u64),
                name: &'a str,
            ) -> anyhow::Result<[T; N]>
            where
                T: Row,
            {
                load(a, b, name).await
            }
        },
    );
}

#[test]
fn plain_function_expands_as_recorded() {
    check(
        "plain_function",
        quote!(ttl = "5m", tiers = "l1"),
        quote! {
            pub fn parse(text: &str) -> Result<Arc<Tree>, ParseError> {
                Tree::parse(text).map(Arc::new)
            }
        },
    );
}

#[test]
fn method_expands_as_recorded() {
    check_method(
        "method",
        quote!(impl Repo),
        quote!(ttl = "5m", scope = self.tenant),
        quote! {
            pub async fn get(&self, mut id: u64) -> Result<Option<User>, DbError> {
                id += 1;
                self.db.get(id).await
            }
        },
    );
}

#[test]
fn trait_method_expands_as_recorded() {
    check_method(
        "trait_method",
        quote!(impl Store for Repo),
        quote!(ttl = "5m", skip(self), trait_impl),
        quote! {
            async fn get(&self, (a, b): (u64, u64)) -> u64 {
                a + b
            }
        },
    );
}

#[test]
fn every_time_besides_the_ttl_expands_as_recorded() {
    check(
        "every_time",
        quote!(
            ttl = "5m",
            stale_while_revalidate = "1m",
            stale_if_error = "6h",
            stale_if = |error: &DbError| error.is_transient(),
            soft_timeout = "200ms",
            hard_timeout = "2s",
            load_limit = "30s",
            refresh_ahead = "1m",
            jitter = "10%",
            none_ttl = "30s",
            error_ttl = "5s",
            error_if = DbError::is_not_found,
            ttl_from = |user: &User| user.expires_in
        ),
        quote! {
            async fn get_user(id: u64) -> Result<Option<User>, DbError> {
                db().fetch_user(id).await
            }
        },
    );
}

#[test]
fn late_method_expands_as_recorded() {
    check_method(
        "late_method",
        quote!(impl<D: Database> Repo<D>),
        quote!(ttl = "5m", scope = self.tenant, skip(filter), refresh_ahead),
        quote! {
            pub async fn find<'a, T: Row>(
                &'a self,
                mut id: u64,
                names: &[&'static str],
                &(from, to): &(u64, u64),
                filter: &&T,
            ) -> Option<T> {
                id += from;
                self.db.find(id, names, to, filter).await
            }
        },
    );
}

#[test]
fn timed_plain_function_expands_as_recorded() {
    check(
        "timed_plain_function",
        quote!(
            ttl = "5m",
            tiers = "l1",
            stale_if_error = "1h",
            none_ttl = "30s"
        ),
        quote! {
            fn parse(text: &str) -> Option<Arc<Tree>> {
                Tree::parse(text).map(Arc::new)
            }
        },
    );
}

#[test]
fn timed_trait_method_expands_as_recorded() {
    check_method(
        "timed_trait_method",
        quote!(impl Store for Repo),
        quote!(ttl = "5m", skip(self), trait_impl, load_limit = "30s"),
        quote! {
            async fn get(&self, id: u64) -> anyhow::Result<u64> {
                Ok(id)
            }
        },
    );
}

#[test]
fn tagged_function_expands_as_recorded() {
    check(
        "tagged",
        quote!(
            ttl = "5m",
            key = "{filter.kind}:{id}",
            tags = ["user:{id}", "{id}/{{{filter.kind}}}", "all-users"]
        ),
        quote! {
            async fn get_user(id: u64, filter: Filter) -> Result<User, DbError> {
                db().fetch_user(id, filter).await
            }
        },
    );
}

#[test]
fn tags_of_a_value_expand_as_recorded() {
    check_method(
        "tags_of",
        quote!(impl Repo),
        quote!(
            ttl = "5m",
            skip(self),
            tags_of = |user: &User| [tag!("org:{user.org}")]
        ),
        quote! {
            pub async fn get(&self, id: u64) -> Option<User> {
                self.db.get(id).await
            }
        },
    );
}

#[test]
fn batch_expands_as_recorded() {
    check(
        "batch",
        quote!(ttl = "5m", batch = ids, tags = ["user:{ids}"], skip(pool)),
        quote! {
            pub async fn get_users(
                pool: &Pool,
                ids: &[u64],
                tenant: u32,
            ) -> Result<HashMap<u64, User>, DbError> {
                pool.fetch_users(ids, tenant).await
            }
        },
    );
}

#[test]
fn batch_with_the_options_of_another_function_expands_as_recorded() {
    check_method(
        "same_as",
        quote!(impl<D: Database> Repo<D>),
        quote!(
            batch(names, most = 500),
            same_as = Self::find::<T>,
            skip(self)
        ),
        quote! {
            pub async fn find_all<T: Row>(
                &self,
                names: Vec<&str>,
                filter: &Filter,
            ) -> BTreeMap<String, T> {
                self.db.find_all(names, filter).await
            }
        },
    );
}

#[test]
fn late_batch_expands_as_recorded() {
    check(
        "late_batch",
        quote!(
            ttl = "5m",
            batch = names,
            skip(pool),
            stale_while_revalidate = "1m"
        ),
        quote! {
            async fn find_all(
                pool: &Pool,
                names: &[&str],
                tenant: u64,
            ) -> HashMap<String, User> {
                pool.find_all(names, tenant).await
            }
        },
    );
}

/// An attribute that is being typed expands to the function, with errors inside of it.
#[test]
fn half_typed_options_expand() {
    let options = [
        quote!(ttl = "5m", tags =),
        quote!(ttl = "5m", tags = ["user:{"]),
        quote!(ttl = "5m", tags_of = |user|),
        quote!(ttl = "5m", batch),
        quote!(ttl = "5m", batch = ),
        quote!(ttl = "5m", batch(ids, most =)),
        quote!(batch = ids, same_as =),
    ];
    for options in options {
        let item = quote! {
            async fn get(ids: &[u64]) -> HashMap<u64, u64> {
                let found = ids.
            }
        };
        let expanded = super::cached(options.clone(), item).to_string();
        for part in [
            "let found = ids .",
            "struct get",
            "fn entry",
            "compile_error",
        ] {
            assert!(
                expanded.contains(part),
                "{options}: no `{part}`: {expanded}"
            );
        }
    }
}

#[test]
fn half_typed_body_expands() {
    let expanded = super::cached(
        quote!(ttl = "5m"),
        quote! {
            async fn get(id: u64) -> u64 {
                let user = id.
            }
        },
    )
    .to_string();
    assert!(
        expanded.contains("let user = id .") && expanded.contains("struct get"),
        "{expanded}"
    );
}
