"""What is known of functions and methods by their names.

A name in one of these tables is a promise about every object that plausibly has such a method. Where a notebook's own
class
defines a method of a name in ``FRESH`` or ``VIEWS``, the name is struck off for that notebook.
"""

from __future__ import annotations

import builtins

PURE_FUNCTIONS = frozenset(
    "abs all any ascii bin bool bytes callable chr complex display divmod float format hasattr hash help hex id input "
    "int "
    "isinstance issubclass len oct open ord pow print range repr round slice str sum type pprint".split()
)
"""Builtins that neither change nor keep their arguments."""

PASSING_FUNCTIONS = frozenset(
    "dict enumerate filter frozenset getattr iter list map max min reversed set sorted tuple zip copy deepcopy "
    "partial".split()
)
"""They do not change their arguments, but what they return may hold (parts of) them."""

FRESH = frozenset(
    # frames, series, arrays: the result shares nothing that can be changed in place (pandas copies on write)
    "abs agg aggregate all any applymap argmax argmin argsort assign astype between bool clip concat corr corrwith "
    "count cov "
    "crosstab cummax cummin cumprod cumsum cut describe diff dot drop_duplicates dropna duplicated eq explode fillna "
    "ge "
    "get_dummies gt head idxmax idxmin info interpolate isin isna isnull join kurt kurtosis le lt max mean median "
    "melt memory_usage "
    "merge min mode ne nlargest notna notnull nsmallest nunique pct_change pivot pivot_table prod product qcut "
    "quantile rank "
    "rename replace resample rolling round sample select_dtypes sem shift skew sort_index sort_values std sum tail "
    "to_csv "
    "to_datetime to_html to_json to_list to_markdown to_numeric to_parquet to_string tolist unique value_counts var "
    "DataFrame Series Timestamp Timedelta date_range read_csv read_parquet read_json read_excel "
    # numpy functions that make new arrays
    "arange array ceil cos exp expm1 floor full histogram isclose isfinite isinf isnan linspace log log10 log1p log2 "
    "maximum "
    "minimum nanmax nanmean nanmin nanstd nansum norm ones percentile sign sin sqrt tan tanh where zeros allclose "
    "array_equal "
    # text
    "capitalize casefold center encode decode endswith find format index isalnum isalpha isdigit islower isnumeric "
    "isspace "
    "isupper ljust lower lstrip rfind rjust rstrip split splitlines startswith strip swapcase title upper zfill "
    # containers
    "difference intersection isdisjoint issubset issuperset symmetric_difference "
    # paths, time
    "deepcopy exists is_file is_dir isoformat strftime strptime total_seconds with_suffix "
    # metrics of scikit-learn, which only look
    "accuracy_score classification_report confusion_matrix f1_score log_loss mean_absolute_error mean_squared_error "
    "precision_score r2_score recall_score roc_auc_score roc_curve".split()
)
"""Methods (and functions of modules) that change neither receiver nor arguments and return something new."""

VIEWS = frozenset(
    "copy get items keys values groupby iterrows itertuples reshape ravel squeeze swapaxes transpose view asarray "
    "pipe_ query "
    "set_index reset_index stack unstack to_numpy to_frame xs filter drop union most_common elements".split()
)
"""Methods that change nothing, but whose result may share objects with the receiver or the arguments."""

MUTATORS = frozenset(
    "add append appendleft clear difference_update discard extend extendleft fill fit fit_predict fit_resample "
    "fit_transform "
    "fit_generator insert intersection_update itemset load_state_dict move_to_end partial_fit pop popitem popleft put "
    "remove "
    "resize rotate set_params set_flags setdefault setflags sort symmetric_difference_update update __setitem__ "
    "__delitem__ "
    "__iadd__ __setattr__ add_ mul_ sub_ div_ zero_ copy_ fill_ clamp_ normal_ uniform_ requires_grad_ backward step "
    "zero_grad".split()
)
"""Methods that change their receiver."""

ARGUMENT_MUTATORS = frozenset(
    "shuffle heappush heappop heapify heapreplace heappushpop insort insort_left insort_right copyto place putmask "
    "fill_diagonal setitem delitem setattr delattr next put_along_axis".split()
)
"""Functions that change their first argument."""

CONSTRUCTORS = frozenset(
    "Path PurePath PosixPath dict list set tuple frozenset range str int float complex bool bytes bytearray len "
    "sorted zip enumerate "
    "reversed sum min max abs round slice timedelta datetime date time Decimal Fraction UUID compile namedtuple "
    "NamedTuple TypeVar "
    "NewType Enum IntEnum StrEnum Flag defaultdict OrderedDict Counter deque ChainMap SimpleNamespace "
    "MappingProxyType array "
    "arange linspace logspace geomspace zeros ones eye full Timestamp Timedelta DateOffset getLogger field join "
    "expanduser home "
    "dirname basename abspath fromkeys format split strip lower upper replace getenv partial itemgetter attrgetter "
    "ListedColormap LinearSegmentedColormap make_dataclass chain product".split()
)
"""Calls whose value depends on nothing but their arguments, so that a constant may be made of them."""

MUTABLE_CONSTRUCTORS = frozenset(
    "dict list set bytearray defaultdict OrderedDict Counter deque ChainMap SimpleNamespace array arange linspace "
    "logspace "
    "geomspace zeros ones eye full sorted fromkeys split".split()
)

SEEDS = frozenset(
    "random.seed random.setstate manual_seed manual_seed_all set_seed seed_everything seed_all set_random_seed "
    "set_state "
    "random.set_seed setstate".split()
)
"""Ends of dotted names that seed global generators."""

AMBIENT_CALLS: dict[str, str] = {
    **dict.fromkeys(("os.chdir", "os.fchdir", "chdir"), "chdir"),
    **dict.fromkeys(
        (
            "os.putenv",
            "os.unsetenv",
            "load_dotenv",
            "os.environ.update",
            "os.environ.setdefault",
            "os.environ.pop",
            "environ.update",
            "environ.setdefault",
            "environ.pop",
        ),
        "environ",
    ),
    **dict.fromkeys(
        ("sys.path.append", "sys.path.insert", "sys.path.extend", "sys.path.remove", "site.addsitedir", "sys.path.pop"),
        "sys.path",
    ),
    **dict.fromkeys(
        (
            "set_option",
            "reset_option",
            "set_printoptions",
            "seterr",
            "style.use",
            "plt.rc",
            "mpl.rc",
            "matplotlib.rc",
            "rcdefaults",
            "rcParams.update",
            "matplotlib.use",
            "mpl.use",
            "set_theme",
            "sns.set",
            "seaborn.set",
            "set_style",
            "set_context",
            "set_palette",
            "set_color_codes",
            "filterwarnings",
            "simplefilter",
            "basicConfig",
            "logging.disable",
            "setlocale",
            "set_config",
            "tqdm.pandas",
            "setrecursionlimit",
            "plt.ion",
            "plt.ioff",
            "register_matplotlib_converters",
            "init_notebook_mode",
            "set_matplotlib_formats",
            "set_default_dtype",
            "set_num_threads",
            "use_deterministic_algorithms",
            "disable_max_rows",
            "data_transformers.enable",
            "renderers.enable",
            "Config.set_tbl_rows",
            "Config.set_tbl_cols",
            "set_float_precision",
            "set_verbosity_error",
            "getcontext",
        ),
        "options",
    ),
}
"""Ends of dotted names of calls that change process-wide state → kind."""

AMBIENT_TARGETS: dict[str, str] = {
    "os.environ": "environ",
    "environ": "environ",
    "sys.path": "sys.path",
    "rcParams": "options",
    "pd.options": "options",
    "pandas.options": "options",
    "pio.templates": "options",
    "pio.renderers": "options",
    "getcontext()": "options",
}
"""Dotted names (or their beginnings and ends) whose assignment changes process-wide state → kind."""

BUILTINS = frozenset(dir(builtins))
_AMBIENT_ENDS = frozenset(name.rpartition(".")[2] for name in (*SEEDS, *AMBIENT_CALLS))


def ambient_call(dotted: str) -> str | None:
    """Kind of process-wide state that a call by this dotted name changes."""
    parts = dotted.split(".")
    if parts[-1] not in _AMBIENT_ENDS:
        return None
    for size in range(1, min(len(parts), 3) + 1):
        tail = ".".join(parts[-size:])
        if tail in SEEDS:
            return "seed"
        if tail in AMBIENT_CALLS:
            return AMBIENT_CALLS[tail]
    return None


def ambient_target(dotted: str) -> str | None:
    """Kind of process-wide state that an assignment to (something below) this dotted name changes."""
    parts = dotted.split(".")
    for start in range(len(parts)):
        for end in range(start + 1, len(parts) + 1):
            kind = AMBIENT_TARGETS.get(".".join(parts[start:end]))
            if kind is not None:
                return kind
    return None
