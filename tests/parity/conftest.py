from goldens import parametrize_with_goldens


def pytest_generate_tests(metafunc):
    parametrize_with_goldens(metafunc)
