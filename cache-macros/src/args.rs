//! The grammar of the attribute: its options, each given at most once and kept with its span.

mod batch;
mod duration;
mod given;
mod tags;
mod times;
mod ttl;

use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, ExprPath, Ident, LitStr, Path, Token};

pub(crate) use self::batch::Batch;
use self::given::{Given, comma, level_number, skip_to_comma};
pub(crate) use self::given::{Scope, Tiers};
pub(crate) use self::times::{Setting, Times};
pub(crate) use self::ttl::Ttl;
use crate::errors::{Errors, nearest};
use crate::item;

/// Reads the value of one option.
type Read = fn(&mut Args, &Given<'_>, &mut Errors) -> syn::Result<()>;

/// Every option, with the function that reads its value.
const OPTIONS: &[(&str, Read)] = &[
    ("ttl", |args, given, errors| {
        args.set_ttl(given, |given| ttl::ttl(given, errors))
    }),
    ("policy", |args, given, _| {
        args.set_ttl(given, |given| given.policy().map(Ttl::Policy))
    }),
    ("tiers", |args, given, _| {
        args.tiers = Some(given.tiers()?);
        Ok(())
    }),
    ("name", |args, given, _| {
        args.name = Some(given.function_name()?);
        Ok(())
    }),
    ("version", |args, given, _| {
        args.version = Some(given.version()?);
        Ok(())
    }),
    ("key", |args, given, _| {
        args.key = Some(given.text("\"user:{id}\"")?);
        Ok(())
    }),
    ("skip", |args, given, errors| {
        for (is_mut, name) in given.skip(errors)? {
            args.skip_mut.extend(is_mut.then(|| name.clone()));
            args.skip.push(name);
        }
        Ok(())
    }),
    ("scope", |args, given, _| {
        args.scope = Some(given.scope()?);
        Ok(())
    }),
    ("cache_if", |args, given, _| {
        args.cache_if = Some(given.value("cache_if = |value| value.is_active")?);
        Ok(())
    }),
    ("share_error", |args, given, _| {
        args.share_error = Some(given.function_path()?);
        Ok(())
    }),
    ("codec", |args, given, _| {
        args.codec = Some(given.text("\"postcard\"")?);
        Ok(())
    }),
    ("when_isolated", |args, given, _| {
        args.needs_shared_tier(given);
        args.when_isolated = Some(given.choice(&[("serve", "Serve"), ("load", "Load")])?);
        Ok(())
    }),
    ("single_flight", |args, given, _| {
        args.needs_shared_tier(given);
        let choices = [("cluster", "Cluster"), ("process", "Process")];
        args.single_flight = Some(given.choice(&choices)?);
        Ok(())
    }),
    ("consistency", |args, given, _| {
        args.needs_shared_tier(given);
        let choices = [("bounded", "Bounded"), ("strong", "Strong")];
        args.consistency = Some(given.choice(&choices)?);
        Ok(())
    }),
    ("stale_while_revalidate", |args, given, _| {
        args.times.stale_while_revalidate = Some(given.time("1m")?);
        Ok(())
    }),
    ("stale_if_error", |args, given, _| {
        args.times.stale_if_error = Some(given.time("6h")?);
        Ok(())
    }),
    ("stale_if", |args, given, _| {
        let example = "stale_if = |error| error.is_transient()";
        args.stale_if = Some(given.setting(example)?);
        Ok(())
    }),
    ("soft_timeout", |args, given, _| {
        args.times.soft_timeout = Some(given.time("200ms")?);
        Ok(())
    }),
    ("hard_timeout", |args, given, _| {
        args.times.hard_timeout = Some(given.time("2s")?);
        Ok(())
    }),
    ("load_limit", |args, given, _| {
        args.times.load_limit = Some(given.time("30s")?);
        Ok(())
    }),
    ("refresh_ahead", |args, given, _| {
        args.times.refresh_ahead = Some(given.refresh_ahead()?);
        Ok(())
    }),
    ("jitter", |args, given, _| {
        args.times.jitter = Some(given.jitter()?);
        Ok(())
    }),
    ("none_ttl", |args, given, _| {
        args.times.none_ttl = Some(given.time("30s")?);
        Ok(())
    }),
    ("error_ttl", |args, given, _| {
        args.times.error_ttl = Some(given.error_ttl()?);
        Ok(())
    }),
    ("error_if", |args, given, _| {
        let example = "error_if = |error| error.is_not_found()";
        args.error_if = Some(given.setting(example)?);
        Ok(())
    }),
    ("ttl_from", |args, given, _| {
        args.ttl_from = Some(given.value("ttl_from = |value| value.expires_in")?);
        Ok(())
    }),
    ("tags", |args, given, errors| {
        args.tags = Some(tags::tags(given, errors)?);
        Ok(())
    }),
    ("tags_of", |args, given, _| {
        let example = "tags_of = |value| [tag!(\"org:{value.org}\")]";
        args.tags_of = Some(given.value(example)?);
        Ok(())
    }),
    ("batch", |args, given, _| {
        args.batch = Some(batch::batch(given)?);
        Ok(())
    }),
    ("same_as", |args, given, _| {
        args.same_as = Some(batch::same_as(given)?);
        Ok(())
    }),
    ("crate", |args, given, _| {
        args.facade = Some(given.facade()?);
        Ok(())
    }),
    ("trait_impl", |args, given, _| {
        given.no_value()?;
        args.trait_impl = true;
        Ok(())
    }),
];

/// Names that other caches have for an option. Names that are near to that of the option are found
/// without this list.
const OTHER_NAMES: &[(&str, &[&str])] = &[
    (
        "ttl",
        &[
            "time",
            "duration",
            "expire",
            "expires",
            "expiry",
            "expiration",
            "lifetime",
            "max_age",
            "seconds",
            "minutes",
            "time_to_live",
        ],
    ),
    ("stale_while_revalidate", &["swr"]),
    ("stale_if_error", &["grace", "fail_safe", "result_fallback"]),
    ("hard_timeout", &["timeout"]),
    (
        "refresh_ahead",
        &["refresh", "refresh_after", "eager_refresh"],
    ),
    ("none_ttl", &["negative_ttl"]),
];

/// The options of the attribute. Each value is checked as far as it can be without the function.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) ttl: Option<Ttl>,
    pub(crate) tiers: Option<Tiers>,
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<u32>,
    pub(crate) key: Option<LitStr>,
    pub(crate) skip: Vec<Ident>,
    /// The arguments in `skip` that are written `mut conn`: the function is meant to read through
    /// them.
    pub(crate) skip_mut: Vec<Ident>,
    pub(crate) scope: Option<Scope>,
    pub(crate) cache_if: Option<Expr>,
    pub(crate) share_error: Option<ExprPath>,
    pub(crate) codec: Option<LitStr>,
    /// The name of the runtime's enum variant, as in the two options below.
    pub(crate) when_isolated: Option<&'static str>,
    pub(crate) single_flight: Option<&'static str>,
    pub(crate) consistency: Option<&'static str>,
    /// The first of those three options, which have no effect without a shared tier.
    pub(crate) shared_tier_option: Option<Ident>,
    /// Times besides the ttl.
    pub(crate) times: Times,
    pub(crate) stale_if: Option<Setting<Expr>>,
    pub(crate) error_if: Option<Setting<Expr>>,
    pub(crate) ttl_from: Option<Expr>,
    /// The templates of the tags that the arguments tell.
    pub(crate) tags: Option<Vec<LitStr>>,
    pub(crate) tags_of: Option<Expr>,
    pub(crate) batch: Option<Batch>,
    /// The function of one id that has the values of a batch.
    pub(crate) same_as: Option<ExprPath>,
    pub(crate) facade: Option<Path>,
    pub(crate) trait_impl: bool,
    /// The names of all known options that are given.
    pub(crate) given: Vec<Ident>,
    /// Options that were given but could not be read. That they are missing is no second mistake.
    broken: Vec<String>,
    /// Set if one of those names `Self`, which is written in an `impl` only.
    pub(crate) broken_names_self_type: bool,
}

impl Args {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self::default();
        let all = |input: ParseStream<'_>| {
            if input.peek(syn::Lit) {
                errors.push(input.error("a value without a name; help: write `ttl = \"5m\"`"));
                args.broken.push("ttl".to_owned());
                skip_to_comma(input)?;
                input.parse::<Option<Token![,]>>()?;
            }
            while !input.is_empty() {
                let unread = input.fork();
                if let Err(error) = args.option(input, errors) {
                    errors.push(error);
                    skip_to_comma(input)?;
                    args.broken_names_self_type |= names_self_type(&unread)?;
                }
                comma(input, |name| reader(name).is_some(), errors)?;
            }
            Ok(())
        };
        if let Err(error) = all.parse2(tokens) {
            errors.push(error);
        }
        args
    }

    /// Returns `true` if the option was given but could not be read.
    pub(crate) fn is_broken(&self, option: &str) -> bool {
        self.broken.iter().any(|broken| broken == option)
    }

    fn option(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<()> {
        let option = input.call(Ident::parse_any).map_err(|error| {
            let help = help_options();
            let says = format!("expected the name of an option; help: {help}");
            syn::Error::new(error.span(), says)
        })?;
        let name = option.to_string();
        let Some(read) = reader(&name) else {
            return Err(self.unknown(&option, &name));
        };
        if self.given.contains(&option) {
            let twice = format!("`{name}` is given twice");
            return Err(syn::Error::new(option.span(), twice));
        }
        self.given.push(option.clone());
        let given = Given {
            option: &option,
            input,
        };
        read(self, &given, errors).inspect_err(|_| self.broken.push(name))
    }

    /// The error of an unknown option. The option that it was probably meant for counts as given,
    /// so that it is not reported as missing too.
    fn unknown(&mut self, option: &Ident, name: &str) -> syn::Error {
        if level_number(name).is_some() {
            self.broken.push("ttl".to_owned());
            let says =
                format!("per-tier ttls are separate options; help: write `ttl({name} = \"1h\")`");
            return syn::Error::new(option.span(), says);
        }
        let known = OTHER_NAMES.iter().find(|(_, names)| names.contains(&name));
        let near = known.map(|(option, _)| *option);
        let near = near.or_else(|| nearest(name, option_names()));
        self.broken.extend(near.map(str::to_owned));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => help_options(),
        };
        syn::Error::new(
            option.span(),
            format!("unknown option `{name}`; help: {help}"),
        )
    }

    /// Sets the ttl, which has two options.
    fn set_ttl(
        &mut self,
        given: &Given<'_>,
        read: impl FnOnce(&Given<'_>) -> syn::Result<Ttl>,
    ) -> syn::Result<()> {
        if self.ttl.is_some() {
            return Err(syn::Error::new(
                given.option.span(),
                "`ttl` and `policy` both set the ttl; help: remove one of them",
            ));
        }
        self.ttl = Some(read(given)?);
        Ok(())
    }

    fn needs_shared_tier(&mut self, given: &Given<'_>) {
        self.shared_tier_option
            .get_or_insert_with(|| given.option.clone());
    }
}

fn option_names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}

/// The help that lists every option.
fn help_options() -> String {
    let names: Vec<_> = option_names().collect();
    format!("the options are {}", names.join(", "))
}

fn reader(option: &str) -> Option<Read> {
    let mut options = OPTIONS.iter();
    let (_, read) = options.find(|(name, _)| *name == option)?;
    Some(*read)
}

/// Returns `true` if the tokens before the next comma name `Self`.
fn names_self_type(input: ParseStream<'_>) -> syn::Result<bool> {
    let mut option = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) {
        option.extend([input.parse::<TokenTree>()?]);
    }
    Ok(item::names_self_type(option))
}
