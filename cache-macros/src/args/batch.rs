//! The options `batch` and `same_as` of functions of several ids.

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::{ExprPath, Ident, LitInt, Token, parenthesized};

use super::given::Given;

/// The number of ids for which a body runs at once, unless the option says another one.
const MOST_IDS: u32 = 1000;

const EXAMPLE: &str = "help: write `batch = ids`, or `batch(ids, most = 500)`";

/// The argument with the ids of a function.
pub(crate) struct Batch {
    /// The name of the option.
    pub(crate) option: Ident,
    /// The name of the argument.
    pub(crate) ids: Ident,
    /// The largest number of ids for which the body runs at once.
    pub(crate) most: u32,
}

/// Reads what follows the name `batch` in `batch = ids` or `batch(ids, most = 500)`.
pub(super) fn batch(given: &Given<'_>) -> syn::Result<Batch> {
    let input = given.input;
    let option = given.option.clone();
    if input.peek(Token![=]) {
        input.parse::<Token![=]>()?;
        return Ok(Batch {
            option,
            ids: argument(input)?,
            most: MOST_IDS,
        });
    }
    if !input.peek(syn::token::Paren) {
        let says = format!("`batch` needs the argument with the ids; {EXAMPLE}");
        return Err(given.error(says));
    }
    let list;
    parenthesized!(list in input);
    let batch = in_parentheses(option, &list);
    // After a mistake the rest of the list is not parsed, so that it causes no further errors.
    let _ = list.parse::<TokenStream>();
    batch
}

fn in_parentheses(option: Ident, list: syn::parse::ParseStream<'_>) -> syn::Result<Batch> {
    let ids = argument(list)?;
    let mut most = MOST_IDS;
    if !list.is_empty() {
        comma(list)?;
    }
    if !list.is_empty() {
        most = number_of_ids(list)?;
        if !list.is_empty() {
            comma(list)?;
        }
    }
    match list.is_empty() {
        true => Ok(Batch { option, ids, most }),
        false => Err(list.error(format!("expected `)`; {EXAMPLE}"))),
    }
}

fn argument(input: syn::parse::ParseStream<'_>) -> syn::Result<Ident> {
    input.call(Ident::parse_any).map_err(|error| {
        let says = format!("expected the name of the argument with the ids; {EXAMPLE}");
        syn::Error::new(error.span(), says)
    })
}

fn comma(list: syn::parse::ParseStream<'_>) -> syn::Result<()> {
    if !list.peek(Token![,]) {
        return Err(list.error(format!("expected `,`; {EXAMPLE}")));
    }
    list.parse::<Token![,]>().map(drop)
}

/// Reads `most = 500`.
fn number_of_ids(list: syn::parse::ParseStream<'_>) -> syn::Result<u32> {
    let name = list.call(Ident::parse_any);
    if !name.as_ref().is_ok_and(|name| name == "most") {
        let span = name.map_or_else(|error| error.span(), |name| name.span());
        return Err(syn::Error::new(span, format!("expected `most`; {EXAMPLE}")));
    }
    if !list.peek(Token![=]) {
        return Err(list.error(format!("expected `=`; {EXAMPLE}")));
    }
    list.parse::<Token![=]>()?;
    let help = "help: write such as `most = 500`, the largest number of ids for which the body \
                runs at once";
    if !list.peek(LitInt) {
        return Err(list.error(format!("`most` is not a number; {help}")));
    }
    let number: LitInt = list.parse()?;
    let error = |problem| syn::Error::new(number.span(), format!("`most` is {problem}; {help}"));
    match number.base10_parse() {
        Ok(0) => Err(error("zero: the body could never run")),
        Ok(most) => Ok(most),
        Err(_) => Err(error("out of range")),
    }
}

/// Reads the path of a function of one id.
pub(super) fn same_as(given: &Given<'_>) -> syn::Result<ExprPath> {
    given.equals("same_as = get_user")?;
    given.input.parse().map_err(|error: syn::Error| {
        syn::Error::new(
            error.span(),
            "`same_as` is not the path of a function; help: name the cached function of one id, \
             such as `same_as = get_user`",
        )
    })
}
