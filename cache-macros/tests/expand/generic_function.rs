async fn find<'a, T, const N: usize>(
    __arg0: (u64, u64),
    name: &'a str,
) -> anyhow::Result<[T; N]>
where
    T: Row,
{
    let miss = match ::multi_tier_cached::__private::start::<
        anyhow::Result<[T; N]>,
        _,
        _,
        _,
    >(
        ::multi_tier_cached::__private::At::instance(
            find::__site(),
            &(
                ::core::marker::PhantomData::<T>,
                ::multi_tier_cached::__private::type_of(&find::__constant_N::<N>),
            ),
        ),
        ::multi_tier_cached::__private::returns!(shared anyhow::Result < [T; N] >),
        &(
            ::multi_tier_cached::__private::argument(&__arg0),
            ::multi_tier_cached::__private::argument(&name),
        ),
    ) {
        ::multi_tier_cached::__private::Lookup::Hit(result) => return result,
        ::multi_tier_cached::__private::Lookup::Miss(miss) => miss,
    };
    miss.load(move || find::__body::<T, N>(__arg0, name)).await
}
///Handles of [`fn@find`]: `find::entry(..)`.
#[allow(non_camel_case_types, dead_code)]
struct find {
    _never: ::core::convert::Infallible,
}
#[allow(dead_code)]
impl find {
    ///The handle of one call of `find`, not made yet.
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    fn entry<'a, T, const N: usize>(
        __arg0: (u64, u64),
        name: &'a str,
    ) -> ::multi_tier_cached::__private::Call<
        anyhow::Result<[T; N]>,
        impl ::core::future::Future<Output = anyhow::Result<[T; N]>>,
    >
    where
        T: Row,
    {
        let handle = ::multi_tier_cached::__private::handle(
            ::multi_tier_cached::__private::At::instance(
                find::__site(),
                &(
                    ::core::marker::PhantomData::<T>,
                    ::multi_tier_cached::__private::type_of(&find::__constant_N::<N>),
                ),
            ),
            ::multi_tier_cached::__private::returns!(shared anyhow::Result < [T; N] >),
            &(
                ::multi_tier_cached::__private::argument(&__arg0),
                ::multi_tier_cached::__private::argument(&name),
            ),
        );
        ::multi_tier_cached::__private::call(handle, find::__body::<T, N>(__arg0, name))
    }
    ///Drops every value of `find` in every tier.
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    fn invalidate_all<'a, T, const N: usize>() -> impl ::core::future::Future<
        Output = ::core::result::Result<(), ::multi_tier_cached::Error>,
    > + ::core::marker::Send + 'static
    where
        T: Row,
    {
        ::multi_tier_cached::__private::At::instance(
                find::__site(),
                &(
                    ::core::marker::PhantomData::<T>,
                    ::multi_tier_cached::__private::type_of(&find::__constant_N::<N>),
                ),
            )
            .invalidate_all()
    }
    #[doc(hidden)]
    fn __constant_N<const N: usize>() {}
    #[doc(hidden)]
    fn __site() -> &'static ::multi_tier_cached::__private::Site {
        static __SITE: ::multi_tier_cached::__private::Site = ::multi_tier_cached::__private::Site::new(::multi_tier_cached::__private::Declaration {
            name: ::core::concat!(::core::module_path!(), "::", "find"),
            file: ::core::file!(),
            line: ::core::line!(),
            named: false,
            generic: true,
            version: 1u32,
            ttl: ::multi_tier_cached::__private::Ttl::everywhere(
                ::core::time::Duration::new(300u64, 0u32),
            ),
            tiers: ::core::option::Option::None,
            codec: ::core::option::Option::None,
            template: &[],
        });
        ::multi_tier_cached::__private::inventory::submit! {
            ::multi_tier_cached::__private::Registered::new(& __SITE)
        }
        &__SITE
    }
    #[doc(hidden)]
    async fn __body<'a, T, const N: usize>(
        (a, b): (u64, u64),
        name: &'a str,
    ) -> anyhow::Result<[T; N]>
    where
        T: Row,
    {
        load(a, b, name).await
    }
}
