# Make .venv, if it is not there, install this package and its tools into it with the tested
# versions and the two models that come as packages (150 MB), and activate it. To be sourced from the top of a clone: `. tools/setup_env.sh`.
setup_env() {
    [ -f setup.cfg ] || { echo 'error: source this from the top of the clone' >&2; return 1; }
    [ -d .venv ] || python3 -m venv .venv || return 1
    . .venv/bin/activate
    python -m pip install -q -c requirements/constraints.txt torch==2.13.0 'setuptools<82' &&
        python -m pip install -q -c requirements/constraints.txt -e '.[dev,offline]'
}
setup_env
