#[allow(clippy::used_underscore_binding)]
pub fn parse(text: &str) -> Result<Arc<Tree>, ParseError> {
    let __miss = match parse::__with_key(
        ::multi_tier_cached::__private::CallNow,
        parse::__returns,
        &text,
    ) {
        ::multi_tier_cached::__private::MemoryLookup::Hit(__result) => return __result,
        ::multi_tier_cached::__private::MemoryLookup::Miss(__miss) => __miss,
    };
    __miss.load_blocking(move || parse::__body(text))
}
///Handles of [`fn@parse`]: `parse::entry(..)`.
#[allow(non_camel_case_types, dead_code)]
pub struct parse {
    _never: ::core::convert::Infallible,
}
#[allow(dead_code)]
impl parse {
    ///Returns the handle of one call of `parse`, which does not begin.
    #[inline]
    #[allow(
        dead_code,
        non_snake_case,
        unused_variables,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    pub fn entry(
        text: &str,
    ) -> ::multi_tier_cached::__private::Call<
        Result<Arc<Tree>, ParseError>,
        impl ::core::future::Future<Output = Result<Arc<Tree>, ParseError>>,
    > {
        let __handle = parse::__with_key(
            ::multi_tier_cached::__private::MakeHandle,
            parse::__returns,
            &text,
        );
        ::multi_tier_cached::__private::call(
            __handle,
            async move { parse::__body(text) },
        )
    }
    ///Invalidates one key of `parse` in every tier.
    #[inline]
    #[allow(
        dead_code,
        non_snake_case,
        unused_variables,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    pub fn invalidation(text: &str) -> ::multi_tier_cached::__private::Invalidation {
        parse::__with_key(
            ::multi_tier_cached::__private::MakeInvalidation,
            parse::__returns,
            &text,
        )
    }
    ///Invalidates every key of `parse` in every tier.
    #[inline]
    #[allow(
        dead_code,
        non_snake_case,
        unused_variables,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    pub fn invalidate_all() -> ::multi_tier_cached::__private::Invalidation {
        ::multi_tier_cached::__private::FunctionRef::new(parse::__slot())
            .invalidate_all()
    }
    #[doc(hidden)]
    #[inline]
    #[allow(
        unused_parens,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    fn __with_key<
        __Spec: ::multi_tier_cached::__private::CachedResult<
                Result = Result<Arc<Tree>, ParseError>,
            >,
        __Mode: ::multi_tier_cached::__private::CallMode<__Spec>,
    >(__mode: __Mode, __returned: __Spec, text: &&str) -> __Mode::Output {
        __mode
            .take(
                ::multi_tier_cached::__private::FunctionRef::new(parse::__slot()),
                __returned,
                |__parts: &mut ::multi_tier_cached::__private::Parts<'_>| {
                    __parts.add(text);
                },
            )
    }
    #[doc(hidden)]
    #[inline]
    #[allow(unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
    fn __returns() -> impl ::multi_tier_cached::__private::CachedResult<
        Result = Result<Arc<Tree>, ParseError>,
    > {
        ::multi_tier_cached::__private::returns!(
            memory_only Result < Arc < Tree >, ParseError >
        )
    }
    #[doc(hidden)]
    fn __slot() -> &'static ::multi_tier_cached::__private::FunctionSlot {
        static __SLOT: ::multi_tier_cached::__private::FunctionSlot = ::multi_tier_cached::__private::FunctionSlot::new(::multi_tier_cached::__private::Definition {
            name: ::multi_tier_cached::__private::Cow::Borrowed(
                ::core::concat!(::core::module_path!(), "::", "parse"),
            ),
            file: ::core::file!(),
            line: ::core::line!(),
            ttl: ::multi_tier_cached::__private::Ttl::everywhere(
                ::core::time::Duration::new(300u64, 0u32),
            ),
            is_blocking: true,
            tiers: ::core::option::Option::Some(
                ::multi_tier_cached::__private::Levels::of(
                    &[::multi_tier_cached::__private::Level::L1],
                ),
            ),
            arguments: &["text"],
            ..::multi_tier_cached::__private::Definition::DEFAULT
        });
        ::multi_tier_cached::__private::inventory::submit! {
            ::multi_tier_cached::__private::Registered::new(__SLOT.definition())
        }
        &__SLOT
    }
    #[doc(hidden)]
    fn __body(text: &str) -> Result<Arc<Tree>, ParseError> {
        Tree::parse(text).map(Arc::new)
    }
}
